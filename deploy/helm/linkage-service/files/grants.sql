-- What the role that runs the service may do with the tables of the role that owns them. Run as linkage_owner in the
-- database linkage, after each `linkage-service db upgrade`. The ledger can be added to, and not changed.
GRANT USAGE ON SCHEMA public TO linkage_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO linkage_service;
REVOKE INSERT, UPDATE, DELETE ON alembic_version, serving_revision FROM linkage_service;
REVOKE UPDATE, DELETE ON audit_event, audit_node, audit_checkpoint FROM linkage_service;
REVOKE DELETE ON audit_head, audit_body FROM linkage_service;
