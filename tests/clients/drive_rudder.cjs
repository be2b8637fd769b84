// Rudder's Node client, through every scenario it is given a write key for; prints what it said of each.
const Rudder = require('@rudderstack/rudder-sdk-node');

const told = JSON.parse(process.argv[2]);
console.error = () => {}; // two lines for each failure, whatever the log level

function made(key, said, options = {}) {
  said.errors = [];
  const errorHandler = (error) => said.errors.push(error.response ? error.response.status : error.code);
  return new Rudder(key, { dataPlaneUrl: told.url, logLevel: 'off', retryCount: 4, errorHandler, ...options });
}

// The first event leaves alone and at once, so that one flush does not wait for all.
async function flushed(client) {
  for (let times = 0; times < 2; times += 1) {
    await client.flush().catch(() => {});
  }
}

async function six(key, said) {
  const client = made(key, said);
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

async function one(key, said, options) {
  const client = made(key, said, options);
  client.track({ userId: 'u-1', event: 'Product Viewed' });
  await flushed(client);
}

const plain = (key, said) => one(key, said, { gzip: false });

async function chaos(key, said) {
  const client = made(key, said, { flushAt: 10, flushInterval: 200 });
  const sent = (position) =>
    new Promise((done) => {
      client.track({ userId: 'chaos', event: 'Product Viewed', properties: { position } }, done);
    });
  await Promise.all(Array.from({ length: 40 }, (_, position) => sent(position)));
}

const scenarios = { six, plain, retried: one, refused: one, chaos };
const said = Object.fromEntries(Object.keys(told.keys).map((name) => [name, {}]));
const all = Object.entries(told.keys).map(([name, key]) => scenarios[name](key, said[name]));
Promise.all(all).then(() => process.stdout.write(JSON.stringify(said), () => process.exit(0)));
