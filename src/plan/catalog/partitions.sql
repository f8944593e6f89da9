-- What the partitions of a table add to it: $1 is the oid of a partitioned table. Numbers of columns are
-- those of that table: a partition may have other ones, and names are the same.
WITH RECURSIVE tree (oid) AS (
    SELECT h.inhrelid FROM pg_catalog.pg_inherits h WHERE h.inhparent = $1::oid AND NOT h.inhdetachpending
    UNION ALL
    SELECT h.inhrelid FROM tree JOIN pg_catalog.pg_inherits h ON h.inhparent = tree.oid AND NOT h.inhdetachpending
), member AS MATERIALIZED (
    SELECT c.*, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name,
           pg_catalog.quote_ident(n.nspname) AS schema
    FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
), leaf AS MATERIALIZED (
    -- Rows are estimated as in `table.sql`; and a partition that is empty has none, also if it was never analyzed.
    SELECT sized.*, CASE
        WHEN bytes = 0 THEN 0
        WHEN reltuples > 0 AND relpages > 0
        THEN pg_catalog.round(reltuples::float8 / relpages * (bytes / block))::int8
        WHEN reltuples = 0 AND bytes <= relpages * block THEN 0 END AS rows
    FROM (SELECT member.*, coalesce(pg_catalog.pg_relation_size(member.oid), 0) AS bytes,
                 pg_catalog.current_setting('block_size')::int8 AS block
          FROM member WHERE relkind <> 'p') sized
), number AS MATERIALIZED (
    SELECT of_leaf.attrelid, of_leaf.attnum, here.attnum::int4 AS number
    FROM leaf JOIN pg_catalog.pg_attribute of_leaf ON of_leaf.attrelid = leaf.oid AND of_leaf.attnum > 0
    JOIN pg_catalog.pg_attribute here ON here.attrelid = $1::oid AND here.attname = of_leaf.attname
), own_index AS MATERIALIZED (
    -- Indexes that only the partition has; the others are part of one of the table's.
    SELECT leaf.schema || '.' || pg_catalog.quote_ident(c.relname) AS name, am.amname AS method, i.*
    FROM leaf JOIN pg_catalog.pg_index i ON i.indrelid = leaf.oid
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am am ON am.oid = c.relam
    WHERE NOT c.relispartition
), self AS (
    SELECT p.* FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = $1::oid
)
SELECT pg_catalog.jsonb_build_object(
    'strategy', self.partstrat::text,
    'leading', (SELECT a.attname::text FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = self.partrelid AND a.attnum = self.partattrs[0] AND self.partattrs[0] > 0),
    -- Columns of a partition key, plain or in an expression, cannot be dropped before their table: an
    -- internal dependency.
    'columns', coalesce((
        SELECT pg_catalog.jsonb_agg(DISTINCT a.attname::text)
        FROM (SELECT self.partrelid AS oid UNION SELECT member.oid FROM member WHERE relkind = 'p') level
        JOIN pg_catalog.pg_depend d
        ON d.classid = 'pg_class'::regclass AND d.objid = level.oid AND d.objsubid > 0
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = level.oid AND d.refobjsubid = 0
        AND d.deptype = 'i'
        JOIN pg_catalog.pg_attribute a ON a.attrelid = level.oid AND a.attnum = d.objsubid), '[]'),
    'leaves', coalesce((SELECT pg_catalog.jsonb_agg(leaf.oid::int8 ORDER BY leaf.name) FROM leaf), '[]'),
    'names', coalesce((
        SELECT pg_catalog.jsonb_agg(shown.name ORDER BY shown.name)
        FROM (SELECT leaf.name FROM leaf ORDER BY leaf.name LIMIT 4) shown), '[]'),
    'foreign', coalesce((
        SELECT pg_catalog.jsonb_agg(leaf.name ORDER BY leaf.name) FROM leaf WHERE relkind = 'f'), '[]'),
    'estimate', CASE WHEN NOT EXISTS (SELECT FROM leaf WHERE leaf.rows IS NULL)
        THEN coalesce((SELECT sum(leaf.rows) FROM leaf), 0)::int8 END,
    'relpages', coalesce((SELECT sum(greatest(leaf.relpages, 0)) FROM leaf), 0)::int8,
    'heap_bytes', coalesce((SELECT sum(leaf.bytes) FROM leaf), 0)::int8,
    'toast_bytes', coalesce((
        SELECT sum(pg_catalog.pg_relation_size(NULLIF(leaf.reltoastrelid, 0::oid))) FROM leaf), 0)::int8,
    'index_bytes', coalesce((SELECT sum(pg_catalog.pg_indexes_size(leaf.oid)) FROM leaf), 0)::int8,
    'fillfactor', coalesce((
        SELECT min(coalesce((SELECT o.option_value::int4 FROM pg_catalog.pg_options_to_table(leaf.reloptions) o
                             WHERE o.option_name = 'fillfactor'), 100)) FROM leaf), 100),
    'unlogged', coalesce((
        SELECT pg_catalog.jsonb_agg(leaf.name ORDER BY leaf.name) FROM leaf WHERE leaf.relpersistence = 'u'), '[]'),
    'is_autovacuum_off', EXISTS (
        SELECT FROM leaf, pg_catalog.pg_options_to_table(leaf.reloptions) o
        WHERE o.option_name = 'autovacuum_enabled' AND NOT o.option_value::bool),
    'can_vacuum', coalesce((
        SELECT pg_catalog.pg_has_role(d.datdba, 'USAGE') FROM pg_catalog.pg_database d
        WHERE d.datname = pg_catalog.current_database()), false)
        OR NOT EXISTS (
        SELECT FROM leaf
        WHERE NOT CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 170000
                  THEN pg_catalog.has_table_privilege(leaf.oid, 'MAINTAIN')
                  ELSE pg_catalog.pg_has_role(leaf.relowner, 'USAGE') END),
    'locks', (SELECT count(*) FROM member) + (
        SELECT count(*) FROM member JOIN pg_catalog.pg_index i ON i.indrelid = member.oid),
    'max_locks', pg_catalog.current_setting('max_locks_per_transaction')::int8
        * (pg_catalog.current_setting('max_connections')::int8
           + pg_catalog.current_setting('max_prepared_transactions')::int8),
    'indexes', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'name', own.name,
            'method', own.method,
            'is_strict', own.indisunique OR own.indisexclusion,
            'touches', coalesce((
                SELECT pg_catalog.jsonb_agg(DISTINCT number.number) FROM (
                    SELECT pg_catalog.unnest(own.indkey)::int4 AS attnum
                    UNION ALL
                    SELECT d.refobjsubid FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = own.indexrelid
                    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = own.indrelid) touched
                JOIN number ON number.attrelid = own.indrelid AND number.attnum = touched.attnum), '[]')) ORDER BY own.name)
        FROM own_index own), '[]'),
    'foreign_keys', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'name', pg_catalog.quote_ident(k.conname),
            'points_here', side.points_here,
            'other', pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
            'columns', coalesce((
                SELECT pg_catalog.jsonb_agg(number.number) FROM number
                WHERE number.attrelid = leaf.oid AND number.attnum = ANY (
                    CASE WHEN side.points_here THEN k.confkey ELSE k.conkey END)), '[]'),
            'is_deferrable', k.condeferrable) ORDER BY k.conname, side.points_here)
        FROM leaf CROSS JOIN (VALUES (true), (false)) side (points_here)
        JOIN pg_catalog.pg_constraint k
        ON CASE WHEN side.points_here THEN k.confrelid ELSE k.conrelid END = leaf.oid AND k.conparentid = 0
        JOIN pg_catalog.pg_class c ON c.oid = CASE WHEN side.points_here THEN k.conrelid ELSE k.confrelid END
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f'), '[]'),
    -- Through the table only the row triggers of a partition fire; those that are copies of the table's
    -- own are known.
    'triggers', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'name', pg_catalog.quote_ident(g.tgname),
            'is_before', g.tgtype & 2 = 2,
            'is_row', true,
            'partition', leaf.name,
            'columns', coalesce((
                SELECT pg_catalog.jsonb_agg(number.number) FROM number
                WHERE number.attrelid = leaf.oid AND number.attnum = ANY (g.tgattr::int2[])), '[]'),
            'function', pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname),
            'assigns', coalesce((
                SELECT pg_catalog.jsonb_agg(DISTINCT found[1])
                FROM pg_catalog.regexp_matches(p.prosrc,
                    '(?:^|;|\mbegin\M|\mthen\M|\melse\M)\s*new\."?(\w+)"?\s*:?=', 'gi') found), '[]')) ORDER BY leaf.name, g.tgname)
        FROM leaf JOIN pg_catalog.pg_trigger g ON g.tgrelid = leaf.oid
        JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE g.tgtype & 16 = 16 AND g.tgtype & 1 = 1 AND g.tgenabled IN ('O', 'A')
        AND NOT g.tgisinternal AND g.tgparentid = 0), '[]'),
    'publications', coalesce((
        SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.quote_ident(p.pubname))
        FROM member JOIN pg_catalog.pg_publication_rel r ON r.prrelid = member.oid
        JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid AND p.pubupdate), '[]'),
    'unidentified', coalesce((
        SELECT pg_catalog.jsonb_agg(leaf.name ORDER BY leaf.name) FROM leaf
        WHERE leaf.relreplident <> 'f' AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = leaf.oid AND i.indisvalid AND i.indimmediate
            AND CASE leaf.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END)), '[]'),
    'fully_identified', coalesce((
        SELECT pg_catalog.jsonb_agg(leaf.name ORDER BY leaf.name) FROM leaf WHERE leaf.relreplident = 'f'), '[]'))
FROM self
