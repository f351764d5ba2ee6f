-- SPDX-License-Identifier: GPL-3.0-or-later
-- Takes away what stop.sql has put up. It may be repeated.
BEGIN;
DROP EVENT TRIGGER IF EXISTS supalove_volume;
DROP FUNCTION IF EXISTS pg_catalog.supalove_volume_login();
COMMIT;
