# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tenant may have in its database that is hard to take along, and questions whose answers must stay the same."""

# Its functions note as whom they run whenever somebody's work calls them, and try to become the superuser.
SCHEMA = """
CREATE EXTENSION pgcrypto;
CREATE EXTENSION citext;
CREATE SCHEMA own;
CREATE SCHEMA "public and more";
CREATE TYPE own.mood AS ENUM ('low', 'high');
CREATE DOMAIN own.positive AS int CHECK (VALUE > 0);
CREATE SEQUENCE own.counter START 7;
CREATE TABLE own.seen (became text, who text, came_as text, super bool);
CREATE FUNCTION own.note() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  became text;
BEGIN
  BEGIN
    SET LOCAL ROLE postgres;
    became := current_user;
  EXCEPTION WHEN OTHERS THEN
    became := SQLERRM;
  END;
  INSERT INTO own.seen SELECT became, current_user, session_user, bool_or(rolsuper)
  FROM pg_catalog.pg_roles WHERE rolname IN (current_user, session_user);
END $$;
CREATE FUNCTION own.hostile(number int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  PERFORM own.note();
  RETURN number % 3;
END $$;
CREATE FUNCTION own.is_fine(number int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
  PERFORM own.note();
  RETURN number > 0;
END $$;
CREATE TABLE own.rows (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name citext UNIQUE,
  mood own.mood,
  amount own.positive,
  doubled int GENERATED ALWAYS AS (amount * 2) STORED,
  number int DEFAULT nextval('own.counter')
);
INSERT INTO own.rows (name, mood, amount) SELECT 'Row ' || n, 'high', n FROM generate_series(1, 5) AS n;
CREATE INDEX hostile ON own.rows (own.hostile(id));
CREATE TABLE own.checked (number int CHECK (own.is_fine(number)));
INSERT INTO own.checked VALUES (1), (2);
CREATE TABLE public.child (id int REFERENCES own.rows);
INSERT INTO public.child VALUES (3);
CREATE TABLE own."odd ""name""; -- it's" (value text);
CREATE TABLE "public and more".one AS SELECT E'tab\\tback\\\\slash' AS value;
CREATE TABLE own.parts (at date) PARTITION BY RANGE (at);
CREATE TABLE own.parts_2026 PARTITION OF own.parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO own.parts VALUES ('2026-11-26');
CREATE STATISTICS own.both (dependencies) ON mood, amount FROM own.rows;
CREATE TEXT SEARCH CONFIGURATION own.plain (COPY = simple);
CREATE VIEW own.looks AS SELECT id, name FROM own.rows WHERE amount > 1;
CREATE FUNCTION own.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.number := 0; RETURN NEW; END';
CREATE TRIGGER touch BEFORE INSERT ON own.rows FOR EACH ROW EXECUTE FUNCTION own.touch();
ALTER TABLE own.rows ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY few ON own.rows USING (amount < 3);
CREATE MATERIALIZED VIEW own.many AS SELECT count(*) AS number FROM own.rows;
CREATE FUNCTION own.secret() RETURNS int LANGUAGE sql AS 'SELECT 1';
REVOKE EXECUTE ON FUNCTION own.secret() FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA own GRANT SELECT ON TABLES TO {probe};
GRANT USAGE ON SCHEMA own TO {probe};
GRANT SELECT (id, name) ON own.rows TO {probe};
COMMENT ON TABLE own.rows IS 'it''s \\ "fine"';
SELECT lo_from_bytea(4711, 'large');
COMMENT ON LARGE OBJECT 4711 IS 'an object';
"""

_OWN = "nspname !~ '^pg_' AND nspname <> 'information_schema'"
_RELATIONS = f"""
SELECT nspname, relname, relkind, relrowsecurity, relforcerowsecurity, pg_get_userbyid(relowner),
  obj_description(one.oid, 'pg_class')
FROM pg_class AS one JOIN pg_namespace AS space ON space.oid = relnamespace WHERE {_OWN} ORDER BY 1, 2
"""
_FUNCTIONS = """
SELECT pg_get_functiondef(one.oid), pg_get_userbyid(proowner) FROM pg_proc AS one
WHERE pronamespace = 'own'::regnamespace ORDER BY 1
"""
_CONSTRAINTS = f"""
SELECT nspname, (SELECT relname FROM pg_class WHERE oid = conrelid), pg_get_constraintdef(one.oid), convalidated
FROM pg_constraint AS one JOIN pg_namespace AS space ON space.oid = connamespace WHERE {_OWN} ORDER BY 1, 2, 3
"""
_EXTENSIONS = """
SELECT extname, nspname, pg_get_userbyid(extowner)
FROM pg_extension JOIN pg_namespace AS space ON space.oid = extnamespace WHERE extname <> 'amcheck' ORDER BY 1
"""
_OTHERS = """
SELECT stxname FROM pg_statistic_ext
UNION ALL SELECT cfgname FROM pg_ts_config WHERE cfgnamespace = 'own'::regnamespace
"""
CONTENTS = (
    "SELECT id, name, mood, amount, doubled, number FROM own.rows ORDER BY id",
    'SELECT value FROM "public and more".one',
    "SELECT number FROM own.many",
    "SELECT id FROM own.looks ORDER BY id",
    "SELECT at FROM own.parts",
    "SELECT convert_from(lo_get(4711), 'UTF8'), obj_description(4711, 'pg_largeobject')",
    _RELATIONS,
    _FUNCTIONS,
    f"SELECT indexdef FROM pg_indexes JOIN pg_namespace ON nspname = schemaname WHERE {_OWN} ORDER BY 1",
    _CONSTRAINTS,
    "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
    "SELECT evtname FROM pg_event_trigger",
    "SELECT schemaname, tablename, policyname, roles, cmd, qual, with_check FROM pg_policies ORDER BY 1, 2, 3",
    "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2",
    _EXTENSIONS,
    "SELECT enumlabel FROM pg_enum ORDER BY enumsortorder",
    _OTHERS,
)
# Who may do what, each right on its own: their order says nothing.
_RIGHT = "SELECT {0}, one::text FROM {1}, unnest({2}) AS one WHERE {3} ORDER BY 1, 2"
RIGHTS = (
    _RIGHT.format("relname", "pg_class", "relacl", "relnamespace = 'own'::regnamespace"),
    _RIGHT.format("attname", "pg_attribute", "attacl", "attrelid = 'own.rows'::regclass"),
    _RIGHT.format("proname", "pg_proc", "proacl", "pronamespace = 'own'::regnamespace"),
    _RIGHT.format("nspname", "pg_namespace", "nspacl", "nspname = 'own'"),
    _RIGHT.format("defaclobjtype", "pg_default_acl", "defaclacl", "true"),
)
# Of a database, by its name: whose it is, who may do what in it, and what is set for it.
OUTSIDE = """
SELECT pg_get_userbyid(datdba), datconnlimit, pg_encoding_to_char(encoding), datlocprovider, datlocale,
  ARRAY(SELECT concat(grantee::regrole, privilege_type, is_grantable) FROM aclexplode(datacl) ORDER BY 1),
  ARRAY(SELECT concat(setrole::regrole, setconfig) FROM pg_db_role_setting WHERE setdatabase = base.oid ORDER BY 1)
FROM pg_database AS base WHERE datname = '{database}'
"""
