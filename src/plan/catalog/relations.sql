-- What has the job's name: $1 schema or NULL, $2 name, $3 the search path for when there is no schema.
SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(found) ORDER BY found.place), '[]')
FROM (
    SELECT c.oid::int8 AS oid,
           pg_catalog.quote_ident(n.nspname) AS schema,
           pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name,
           c.relkind::text AS kind,
           c.relpersistence = 't' AS is_temporary,
           n.nspname IN ('pg_catalog', 'information_schema') AS is_system,
           n.nspname = 'piecemeal' AS is_ledger,
           coalesce(pg_catalog.array_position($3, n.nspname::text), 0) AS place
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = $2 AND (n.nspname = $1 OR ($1 IS NULL AND n.nspname::text = ANY ($3)))
) found
