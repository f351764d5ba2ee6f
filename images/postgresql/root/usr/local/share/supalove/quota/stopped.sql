-- SPDX-License-Identifier: GPL-3.0-or-later
-- The databases in which tenants are still to be stopped, or let in again.
DELETE FROM supalove_quota.stopped WHERE database NOT IN (SELECT oid FROM pg_database);

SELECT datname FROM pg_database
WHERE datname ~ '^p_[a-z2-7]{12}$' AND datallowconn
AND :'stopped'::boolean <> (oid IN (SELECT database FROM supalove_quota.stopped));
