-- SPDX-License-Identifier: GPL-3.0-or-later
-- Ends the sessions of the tenant in whose database it is run, and lets it begin no other. It may be repeated.
BEGIN;

CREATE OR REPLACE FUNCTION pg_catalog.supalove_volume_login() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF starts_with(session_user, current_database() || '_') THEN
    RAISE disk_full USING
      MESSAGE = 'the volume of this server is nearly full of WAL that the archive does not take: no sessions for now',
      HINT = 'Nothing that was committed is lost. All goes on by itself as soon as the archive takes WAL again.';
  END IF;
END $$;

REVOKE EXECUTE ON FUNCTION supalove_volume_login() FROM PUBLIC;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'supalove_volume') THEN
    CREATE EVENT TRIGGER supalove_volume ON login EXECUTE FUNCTION pg_catalog.supalove_volume_login();
  END IF;
END $$;

COMMIT;

-- Twice: one that just began when there was no trigger yet is seen a moment later.
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND starts_with(usename, datname || '_');
SELECT pg_sleep(0.2);
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND starts_with(usename, datname || '_');
