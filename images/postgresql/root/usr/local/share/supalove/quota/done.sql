-- SPDX-License-Identifier: GPL-3.0-or-later
-- Notes that what was to be done in a database is done.
UPDATE supalove_quota.storage SET blocked = :'blocked' WHERE name = :'name';
