-- One table with everything attached to it: $1 is its oid.
WITH self AS MATERIALIZED (
    SELECT c.*, n.nspname, coalesce(pg_catalog.pg_relation_size(c.oid), 0) AS bytes,
           pg_catalog.current_setting('block_size')::int8 AS block
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid
), ancestor AS MATERIALIZED (
    -- A table that is no partition has none; a partition is in its own list.
    SELECT relid AS oid FROM pg_catalog.pg_partition_ancestors($1::oid) WHERE relid <> $1::oid
)
SELECT pg_catalog.jsonb_build_object(
    'is_unlogged', self.relpersistence = 'u',
    'replica_identity', self.relreplident::text,
    -- As the planner has it: each page has as many rows as when they were counted. Where none was there then, and
    -- some may have come, it is not known.
    'estimate', CASE
        WHEN self.reltuples > 0 AND self.relpages > 0
        THEN pg_catalog.round(self.reltuples::float8 / self.relpages * (self.bytes / self.block))::int8
        WHEN self.reltuples = 0 AND self.bytes <= self.relpages * self.block THEN 0 END,
    'relpages', greatest(self.relpages, 0),
    'heap_bytes', self.bytes,
    'toast_bytes', coalesce(pg_catalog.pg_relation_size(NULLIF(self.reltoastrelid, 0::oid)), 0),
    'index_bytes', coalesce(pg_catalog.pg_indexes_size(self.oid), 0),
    'fillfactor', coalesce((
        SELECT o.option_value::int4 FROM pg_catalog.pg_options_to_table(self.reloptions) o
        WHERE o.option_name = 'fillfactor'), 100),
    'owner', pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(self.relowner)),
    'owner_is_superuser', coalesce((
        SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = self.relowner), false),
    'is_autovacuum_off', coalesce((
        SELECT NOT o.option_value::bool FROM pg_catalog.pg_options_to_table(self.reloptions) o
        WHERE o.option_name = 'autovacuum_enabled'), false),
    -- The owner of the database may vacuum every table in it. Since PostgreSQL 17 it is a privilege,
    -- which the table's owner has as long as nobody took it.
    'can_vacuum', coalesce((
        SELECT pg_catalog.pg_has_role(d.datdba, 'USAGE') FROM pg_catalog.pg_database d
        WHERE d.datname = pg_catalog.current_database()), false)
        OR CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 170000
           THEN pg_catalog.has_table_privilege(self.oid, 'MAINTAIN')
           ELSE pg_catalog.pg_has_role(self.relowner, 'USAGE') END,
    'row_security', pg_catalog.row_security_active(self.oid),
    'schema_usage', pg_catalog.has_schema_privilege(self.relnamespace, 'USAGE'),
    'columns', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'number', a.attnum,
            'name', a.attname::text,
            'quoted', pg_catalog.quote_ident(a.attname),
            'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
            -- With -1 it says `bpchar`, where NULL would mean one character.
            'bare_type', pg_catalog.format_type(a.atttypid, -1),
            'is_it', pg_catalog.format(
                'attrelid = %s AND attnum = %s AND attname = %L AND atttypid = %s AND attcollation = %s',
                a.attrelid, a.attnum, a.attname, a.atttypid, a.attcollation),
            'built_in', CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname::text END,
            'type_kind', CASE WHEN t.typcategory = 'A' THEN 'a' ELSE t.typtype::text END,
            'base', pg_catalog.format_type(NULLIF(t.typbasetype, 0::oid), t.typtypmod),
            -- PostgreSQL 18 has NOT NULL constraints that the rows there may still break.
            'is_not_null', a.attnotnull AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid
                AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated),
            'is_generated', a.attgenerated <> '',
            'is_identity_always', a.attidentity = 'a',
            'is_dropped', a.attisdropped,
            'can_select', coalesce(pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'), false),
            'can_update', coalesce(pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'UPDATE'), false),
            -- By what the table was last analyzed to be; hundredths.
            'correlation', (
                SELECT pg_catalog.round(100 * s.correlation)::int4 FROM pg_catalog.pg_stats s
                WHERE (s.schemaname, s.tablename, s.attname) = (self.nspname, self.relname, a.attname)
                AND NOT s.inherited),
            'collation', (
                SELECT pg_catalog.jsonb_build_object(
                    'name', pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname),
                    'is_default', co.collprovider = 'd',
                    'is_deterministic', co.collisdeterministic,
                    'recorded', co.collversion,
                    'actual', CASE WHEN co.collversion IS NOT NULL
                              THEN pg_catalog.pg_collation_actual_version(co.oid) END)
                FROM pg_catalog.pg_collation co
                JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
                WHERE co.oid = a.attcollation)) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = self.oid AND a.attnum > 0), '[]'),
    'indexes', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'name', pg_catalog.quote_ident(self.nspname) || '.' || pg_catalog.quote_ident(c.relname),
            'bare', pg_catalog.quote_ident(c.relname),
            'method', am.amname,
            'is_primary', i.indisprimary,
            'is_unique', i.indisunique,
            'is_exclusion', i.indisexclusion,
            'is_immediate', i.indimmediate,
            'is_usable', i.indisvalid AND i.indisready AND i.indislive,
            'is_partial', i.indpred IS NOT NULL,
            'is_replica_identity', i.indisreplident,
            'parts', (
                SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                    'column', i.indkey[k],
                    'is_descending', i.indoption[k] & 1 = 1,
                    'nulls_first', i.indoption[k] & 2 = 2,
                    -- varchar_ops is not the default, and orders like the one that is.
                    'has_default_order', EXISTS (
                        SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_opclass d
                        ON (d.opcmethod, d.opcfamily, d.opcintype) = (o.opcmethod, o.opcfamily, o.opcintype)
                        WHERE o.oid = i.indclass[k] AND d.opcdefault),
                    'has_column_collation', coalesce(i.indcollation[k] = (
                        SELECT a.attcollation FROM pg_catalog.pg_attribute a
                        WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[k]), true)) ORDER BY k)
                FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) k),
            -- Columns in expressions and in the predicate are dependencies; those of a constraint are not.
            'touches', coalesce((
                SELECT pg_catalog.jsonb_agg(DISTINCT touched.number) FROM (
                    SELECT pg_catalog.unnest(i.indkey)::int4 AS number
                    UNION ALL
                    SELECT d.refobjsubid FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid) touched
                WHERE touched.number > 0), '[]')) ORDER BY c.relname)
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_am am ON am.oid = c.relam
        WHERE i.indrelid = self.oid), '[]'),
    'foreign_keys', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'name', pg_catalog.quote_ident(k.conname),
            'points_here', side.points_here,
            'other', pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
            'columns', CASE WHEN side.points_here THEN k.confkey ELSE k.conkey END,
            'is_deferrable', k.condeferrable) ORDER BY k.conname, side.points_here)
        FROM (VALUES (true), (false)) side (points_here)
        JOIN pg_catalog.pg_constraint k
        ON CASE WHEN side.points_here THEN k.confrelid ELSE k.conrelid END = self.oid
        JOIN pg_catalog.pg_class c ON c.oid = CASE WHEN side.points_here THEN k.conrelid ELSE k.confrelid END
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f'), '[]'),
    'triggers', coalesce((
        -- Only those that an UPDATE by an ordinary session fires. Before PostgreSQL 15, a partition's copy
        -- of its parent's trigger counts as internal.
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'name', pg_catalog.quote_ident(g.tgname),
            'is_before', g.tgtype & 2 = 2,
            'is_row', g.tgtype & 1 = 1,
            'columns', g.tgattr::int4[],
            'function', pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname),
            'assigns', coalesce((
                SELECT pg_catalog.jsonb_agg(DISTINCT found[1])
                FROM pg_catalog.regexp_matches(p.prosrc,
                    '(?:^|;|\mbegin\M|\mthen\M|\melse\M)\s*new\."?(\w+)"?\s*:?=', 'gi') found), '[]')) ORDER BY g.tgname)
        FROM pg_catalog.pg_trigger g
        JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE g.tgrelid = self.oid AND g.tgtype & 16 = 16 AND g.tgenabled IN ('O', 'A')
        AND (NOT g.tgisinternal OR (g.tgparentid <> 0 AND g.tgconstraint = 0))), '[]'),
    'rules', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.quote_ident(w.rulename) ORDER BY w.rulename)
        FROM pg_catalog.pg_rewrite w
        WHERE w.ev_class = self.oid AND w.ev_type = '2' AND w.ev_enabled IN ('O', 'A')), '[]'),
    'children', coalesce((
        SELECT pg_catalog.jsonb_agg(h.inhrelid::regclass::text ORDER BY h.inhrelid::regclass::text)
        FROM pg_catalog.pg_inherits h WHERE h.inhparent = self.oid AND self.relkind <> 'p'), '[]'),
    'partition_of', (
        SELECT h.inhparent::regclass::text FROM pg_catalog.pg_inherits h
        WHERE h.inhrelid = self.oid AND self.relispartition),
    -- Columns of a partition key, plain or in an expression, cannot be dropped before their table: an
    -- internal dependency. Numbers differ between parent and partition, names do not.
    'partition_columns', coalesce((
        SELECT pg_catalog.jsonb_agg(DISTINCT a.attname::text)
        FROM ancestor JOIN pg_catalog.pg_depend d
        ON d.classid = 'pg_class'::regclass AND d.objid = ancestor.oid AND d.objsubid > 0
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ancestor.oid AND d.refobjsubid = 0
        AND d.deptype = 'i'
        JOIN pg_catalog.pg_attribute a ON a.attrelid = ancestor.oid AND a.attnum = d.objsubid), '[]'),
    'publications', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.quote_ident(p.pubname) ORDER BY p.pubname)
        FROM pg_catalog.pg_publication p
        WHERE p.pubupdate AND self.relpersistence = 'p' AND (p.puballtables OR EXISTS (
            SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid
            AND (r.prrelid = self.oid OR r.prrelid IN (SELECT oid FROM ancestor))))), '[]'))
FROM self
