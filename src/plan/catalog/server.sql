-- The server, the role and its search path. This one statement runs with the session's own search
-- path, so everything in it is qualified, operators too; and with any server, however old.
SELECT pg_catalog.jsonb_build_object(
    'version', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
    'version_text', pg_catalog.current_setting('server_version'),
    'in_recovery', pg_catalog.pg_is_in_recovery(),
    'is_read_only', pg_catalog.current_setting('default_transaction_read_only')::pg_catalog.bool,
    'encoding', pg_catalog.current_setting('server_encoding'),
    'database', pg_catalog.quote_ident(pg_catalog.current_database()),
    'role', pg_catalog.quote_ident(r.rolname),
    'is_superuser', r.rolsuper,
    'bypasses_row_security', r.rolbypassrls,
    'sees_activity', coalesce((
        SELECT pg_catalog.pg_has_role(s.oid, 'USAGE') FROM pg_catalog.pg_roles s
        WHERE s.rolname OPERATOR(pg_catalog.=) 'pg_read_all_stats'), false),
    'shared_buffers', pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')),
    'path', pg_catalog.to_jsonb(pg_catalog.current_schemas(true)))
FROM pg_catalog.pg_roles r
WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER
