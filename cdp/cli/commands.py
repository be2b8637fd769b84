"""All command groups, put together."""

from __future__ import annotations

import typer

from cdp.cli import (
    access,
    audit,
    audit_bundle,
    backup,
    consent,
    demo,
    erasure,
    explore,
    exports,
    identity,
    identity_conflicts,
    identity_review,
    import_file,
    keys,
    matching,
    operations,
    plans,
    policy,
    quarantine,
    reports,
    retention,
    rights,
    segments,
    setup,
    tags,
    worker,
)

app = typer.Typer(
    name="cdp",
    help="A privacy-aware customer data platform.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
setup.register(app)
demo.register(app)
worker.register(app)
operations.register(app)
backup.register(app)
exports.register(app)
plans.register(access.sources)
import_file.register(app)
app.add_typer(access.sources, name="source")
app.add_typer(plans.plans, name="plan")
app.add_typer(access.keys, name="key")
explore.register(segments.segments)
app.add_typer(segments.segments, name="segment")
app.add_typer(tags.tags, name="tag")
app.add_typer(segments.lists, name="list")
app.add_typer(consent.consent, name="consent")
identity.identity.add_typer(identity_review.review, name="review")
identity_conflicts.register(identity.identity)
app.add_typer(identity.identity, name="identity")
app.add_typer(matching.matching, name="match")
app.add_typer(policy.policies, name="policy")
app.add_typer(keys.keyring, name="keys")
audit_bundle.register(audit.audit)
app.add_typer(audit.audit, name="audit")
erasure.register(rights.rights)
app.add_typer(rights.rights, name="rights")
app.add_typer(retention.retention, name="retention")
app.add_typer(retention.hold, name="hold")
app.add_typer(reports.reports, name="report")
reports.register(app)
app.add_typer(quarantine.app, name="quarantine")
