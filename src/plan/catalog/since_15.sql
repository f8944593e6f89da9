-- What the catalogs hold since PostgreSQL 15: $1 is the table's oid.
SELECT pg_catalog.jsonb_build_object(
    'recorded', d.datcollversion,
    'actual', CASE WHEN d.datcollversion IS NOT NULL
              THEN pg_catalog.pg_database_collation_actual_version(d.oid) END,
    'publications', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.quote_ident(p.pubname) ORDER BY p.pubname)
        FROM pg_catalog.pg_publication p
        WHERE p.pubupdate AND EXISTS (
            SELECT FROM pg_catalog.pg_publication_namespace s
            JOIN pg_catalog.pg_class c ON c.relnamespace = s.pnnspid
            WHERE s.pnpubid = p.oid AND c.relpersistence = 'p'
            AND (c.oid = $1::oid OR c.oid IN (
                SELECT relid FROM pg_catalog.pg_partition_ancestors($1::oid))))), '[]'))
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
