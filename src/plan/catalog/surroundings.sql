-- What is around the table: the ledger, the schemas of the job's search path ($1), and who keeps old
-- row versions alive in this database.
SELECT pg_catalog.jsonb_build_object(
    'ledger', pg_catalog.jsonb_build_object(
        'has_schema', n.oid IS NOT NULL,
        'can_create', pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
        'schema_usage', coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE'), false),
        'tables', coalesce((
            SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                'name', 'piecemeal.' || pg_catalog.quote_ident(c.relname),
                'is_logged', c.relpersistence = 'p',
                'lacks', coalesce((
                    SELECT pg_catalog.jsonb_agg(privilege)
                    FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
                    WHERE NOT pg_catalog.has_table_privilege(c.oid, privilege)), '[]')) ORDER BY c.relname)
            FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'r'
            AND c.relname IN ('ledger', 'run', 'range', 'member', 'journal')), '[]')),
    'search_path', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'quoted', pg_catalog.quote_ident(wanted.name),
            'exists', s.oid IS NOT NULL,
            'usage', coalesce(pg_catalog.has_schema_privilege(s.oid, 'USAGE'), false)) ORDER BY wanted.place)
        FROM pg_catalog.unnest($1) WITH ORDINALITY wanted (name, place)
        LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = wanted.name), '[]'),
    'holders', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(holder) ORDER BY holder.since, holder.name)
        FROM (
            SELECT CASE a.backend_type WHEN 'walsender' THEN 'standby' ELSE 'session' END AS kind,
                   a.pid::text AS name,
                   pg_catalog.date_trunc('second', a.xact_start)::text AS since,
                   extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::int8 AS seconds,
                   pg_catalog.age(coalesce(a.backend_xmin, a.backend_xid))::int8 AS transactions
            FROM pg_catalog.pg_stat_activity a
            WHERE a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type IN ('client backend', 'walsender')
            AND coalesce(a.backend_xmin, a.backend_xid) IS NOT NULL
            AND (a.datname = pg_catalog.current_database() OR a.backend_type = 'walsender')
            UNION ALL
            SELECT 'prepared', pg_catalog.quote_literal(x.gid),
                   pg_catalog.date_trunc('second', x.prepared)::text,
                   extract(epoch FROM pg_catalog.clock_timestamp() - x.prepared)::int8,
                   pg_catalog.age(x.transaction)::int8
            FROM pg_catalog.pg_prepared_xacts x WHERE x.database = pg_catalog.current_database()
            UNION ALL
            SELECT 'slot', pg_catalog.quote_literal(s.slot_name), NULL, NULL, pg_catalog.age(s.xmin)::int8
            FROM pg_catalog.pg_replication_slots s WHERE s.xmin IS NOT NULL
        ) holder), '[]'))
FROM (VALUES (1)) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'piecemeal'
