-- Tables that may have been meant: those whose names are about as long as $1, likely ones first.
SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(near)), '[]')
FROM (
    SELECT n.nspname::text AS schema, c.relname::text AS name,
           pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS quoted
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'piecemeal')
      AND NOT pg_catalog.starts_with(n.nspname, 'pg_')
      AND pg_catalog.abs(pg_catalog.length(c.relname::text) - pg_catalog.length($1)) <= 3
    ORDER BY pg_catalog.lower(c.relname::text) = pg_catalog.lower($1) DESC,
             pg_catalog.lower(pg_catalog.left(c.relname::text, 1)) = pg_catalog.lower(pg_catalog.left($1, 1)) DESC,
             c.relname, n.nspname
    LIMIT 2000
) near
