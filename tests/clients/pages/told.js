// What a page is told in its address (key, api, scenario), and how it says what came of it.
const told = Object.fromEntries(new URLSearchParams(window.location.search));

async function tell(scenarios) {
  try {
    window.said = (await scenarios[told.scenario]()) || {};
  } catch (error) {
    window.said = { failed: String(error) };
  }
}
