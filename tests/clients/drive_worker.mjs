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
  const client = new Analytics(key, told.url, { flushAt: 10, flushInterval: 200, logLevel: 'off' });
  const sent = (position) =>
    new Promise((done) => {
      client.track({ userId: 'chaos', event: 'Product Viewed', properties: { position } }, done);
    });
  await Promise.all(Array.from({ length: 40 }, (_, position) => sent(position)));
}

const scenarios = { six, chaos };
await Promise.all(Object.entries(told.keys).map(([name, key]) => scenarios[name](key)));
process.stdout.write(JSON.stringify({}), () => process.exit(0));
