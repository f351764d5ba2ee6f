-- SPDX-License-Identifier: GPL-3.0-or-later
-- Notes the size of every database; its rows are what is to be done or told, as a verb and a name.
-- 1. At its limit a database is blocked, and stays so until it is below 90 % of it; from 80 % on its state is a warning.
-- 2. What was decided and is not done yet is told again each time; so is a block of which somebody has given back a part.
--    A database that the archiver has closed is left alone: it is being dumped, without the block, and nobody writes.
-- 3. What tenants write to the catalogs that all databases share is in no database's size. Any role may change its own
--    settings and password, as often as it likes: those catalogs are vacuumed, as autovacuum may be minutes away, and a
--    verifier that is far longer than any real one is taken away. How long settings may be says the bootstrap.
-- The limit is a setting of the database, which only its owner, the platform, can change.
BEGIN;

-- A database that was renamed is another's now: it was kept when a restored one took its place.
DELETE FROM supalove_quota.storage WHERE NOT EXISTS (SELECT FROM pg_database WHERE oid = database AND datname = name);

WITH found AS (
  SELECT base.oid, base.datname, pg_database_size(base.oid) AS bytes, (
    SELECT substring(setting FROM '^supalove\.storage_limit=(\d{1,16})$')::bigint
    FROM pg_db_role_setting AS own, unnest(own.setconfig) AS setting
    WHERE own.setdatabase = base.oid AND own.setrole = 0 AND starts_with(setting, 'supalove.storage_limit=')
  ) AS limit_bytes
  FROM pg_database AS base WHERE base.datname ~ '^p_[a-z2-7]{12}$'
), judged AS (
  SELECT found.oid, datname, found.bytes, found.limit_bytes, CASE
    WHEN found.bytes >= found.limit_bytes THEN 'blocked'
    WHEN last.state = 'blocked' AND found.bytes * 100 >= found.limit_bytes * 90 THEN 'blocked'
    WHEN found.bytes * 100 >= found.limit_bytes * 80 THEN 'warning'
    ELSE 'ok'
  END AS state
  FROM found LEFT JOIN supalove_quota.storage AS last ON last.database = found.oid
  -- None for a database that is dropped at this moment.
  WHERE found.bytes IS NOT NULL
)
INSERT INTO supalove_quota.storage AS known (database, name, bytes, limit_bytes, state, since, blocked)
SELECT oid, datname, bytes, limit_bytes, state, now(), false FROM judged
ON CONFLICT (database) DO UPDATE SET
  bytes = excluded.bytes,
  limit_bytes = excluded.limit_bytes,
  since = CASE WHEN known.state = excluded.state THEN known.since ELSE excluded.since END,
  state = excluded.state;

SELECT 'vacuum', relid::regclass::text FROM pg_stat_all_tables JOIN pg_class ON oid = relid
WHERE relisshared AND n_dead_tup > 1000
UNION ALL
SELECT 'forget', rolname FROM pg_authid WHERE rolname ~ '^p_[a-z2-7]{12}_[a-z]+$' AND octet_length(rolpassword) > 1024
UNION ALL
SELECT CASE state WHEN 'blocked' THEN 'block' ELSE 'lift' END, name
FROM supalove_quota.storage JOIN pg_database ON oid = database
WHERE datallowconn AND shobj_description(oid, 'pg_database') IS DISTINCT FROM 'closed'
  AND ((state = 'blocked') <> blocked OR (state = 'blocked' AND EXISTS (
    SELECT FROM aclexplode(datacl) WHERE privilege_type = 'TEMPORARY' AND grantee <> datdba
  )))
UNION ALL
SELECT 'warn', name FROM supalove_quota.storage WHERE state = 'warning' AND since = now();

COMMIT;
