-- SPDX-License-Identifier: GPL-3.0-or-later
-- Notes in which database that is done.
DELETE FROM supalove_quota.stopped WHERE database = (SELECT oid FROM pg_database WHERE datname = :'name');
INSERT INTO supalove_quota.stopped SELECT oid FROM pg_database WHERE datname = :'name' AND :'stopped'::boolean;
