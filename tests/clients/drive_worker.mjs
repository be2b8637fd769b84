// Rudder's service worker package, in Node, through every scenario it is given a write key for.
import { createRequire } from 'node:module';

const { Analytics } = createRequire(import.meta.url)('@rudderstack/analytics-js-service-worker');
const told = JSON.parse(process.argv[2]);

function flushed(client) {
  return new Promise((done) => client.flush(() => done()));
}

async function six(key) {
  const client = new Analytics(key, told.url, { flushAt: 20 });
  const user = { userId: 'u-42' };
  client.identify({ ...user, traits: { email: 'ada@shop.example', firstName: 'Ada', plan: 'gold' } });
  const properties = { order_id: 'o-1', revenue: 42.5, currency: 'EUR' };
  client.track({ ...user, event: 'Order Completed', properties });
  client.page({ ...user, name: 'Home', properties: { path: '/docs' } });
  client.screen({ ...user, name: 'Start', properties: {} });
  client.group({ ...user, groupId: 'team-1', traits: { name: 'Herons' } });
  client.alias({ ...user, previousId: 'device-1' });
  await flushed(client);
}

async function chaos(key) {
  const client = new Analytics(key, told.url, { flushAt: 10 });
  for (let position = 0; position < 40; position += 1) {
    client.track({ userId: 'chaos', event: 'Product Viewed', properties: { position } });
  }
  for (let times = 0; times < 8; times += 1) {
    await flushed(client);
  }
}

const scenarios = { six, chaos };
await Promise.all(Object.entries(told.keys).map(([name, key]) => scenarios[name](key)));
process.stdout.write(JSON.stringify({}), () => process.exit(0));
