// Segment's Node client, through every scenario it is given a write key for; prints what it said of each.
import { generateKeyPairSync } from 'node:crypto';
import { Analytics } from '@segment/analytics-node';

const told = JSON.parse(process.argv[2]);

function made(key, said, options = {}) {
  said.errors = [];
  const client = new Analytics({ writeKey: key, host: told.url, flushAt: 20, ...options });
  return client.on('error', (error) => said.errors.push(error.code));
}

async function six(key, said) {
  const client = made(key, said);
  const user = { userId: 'u-42' };
  client.identify({ ...user, traits: { email: 'ada@shop.example', firstName: 'Ada', plan: 'gold' } });
  const properties = { order_id: 'o-1', revenue: 42.5, currency: 'EUR' };
  client.track({ ...user, event: 'Order Completed', properties });
  client.page({ ...user, category: 'Docs', name: 'Home', properties: { path: '/docs' } });
  client.screen({ ...user, category: 'App', name: 'Start' });
  client.group({ ...user, groupId: 'team-1', traits: { name: 'Herons' } });
  client.alias({ ...user, previousId: 'device-1' });
  await client.closeAndFlush();
}

async function one(key, said, options) {
  const client = made(key, said, { maxRetries: 4, ...options });
  client.track({ userId: 'u-1', event: 'Product Viewed' });
  await client.closeAndFlush({ timeout: 20000 });
}

function oauth(key, said) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const clientKey = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const settings = { clientId: 'a-client', clientKey, keyId: 'a-key', authServer: `${told.url}/_oauth` };
  return one(key, said, { oauthSettings: { ...settings, scope: 'tracking_api:write' } });
}

async function chaos(key, said) {
  const client = made(key, said, { flushAt: 10 });
  for (let position = 0; position < 40; position += 1) {
    client.track({ userId: 'chaos', event: 'Product Viewed', properties: { position } });
  }
  await client.closeAndFlush({ timeout: 30000 });
}

const scenarios = { six, retried: one, denied: one, refused: one, oauth, chaos };
const said = Object.fromEntries(Object.keys(told.keys).map((name) => [name, {}]));
await Promise.all(Object.entries(told.keys).map(([name, key]) => scenarios[name](key, said[name])));
process.stdout.write(JSON.stringify(said), () => process.exit(0));
