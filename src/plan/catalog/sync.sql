-- What a sync trigger has to do with: $1 is the table's oid, $2 the trigger's name.
SELECT pg_catalog.jsonb_build_object(
    'is_owner', pg_catalog.pg_has_role(c.relowner, 'USAGE'),
    'can_create', pg_catalog.has_schema_privilege(c.relnamespace, 'CREATE'),
    'bare_name', c.relname::text,
    'alias', pg_catalog.quote_ident(c.relname),
    -- Of the column, or of the domain that is its type.
    'defaults', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'number', a.attnum,
            'sql', coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.pg_get_expr(t.typdefaultbin, 0)),
            'is_identity', a.attidentity <> '') ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_catalog.pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        AND (d.adbin IS NOT NULL OR t.typdefaultbin IS NOT NULL OR a.attidentity <> '')), '[]'),
    -- They fire after it: BEFORE (2), ROW (1), INSERT (4) or UPDATE (16), later in the order of names.
    'later', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.quote_ident(g.tgname) ORDER BY g.tgname)
        FROM pg_catalog.pg_trigger g
        WHERE g.tgrelid = c.oid AND g.tgtype & 3 = 3 AND g.tgtype & 20 <> 0 AND g.tgenabled <> 'D'
        AND g.tgname > $2::name), '[]'))
FROM pg_catalog.pg_class c WHERE c.oid = $1::oid
