"""GraphQL over the same verbs, roles and audit as REST."""
