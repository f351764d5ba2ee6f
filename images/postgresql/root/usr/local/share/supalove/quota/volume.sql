-- SPDX-License-Identifier: GPL-3.0-or-later
-- Notes that tenants are to be stopped, before it is done, or that all of them are let in again, after that. Else nothing is
-- written: where there is hardly room for WAL, every commit costs a segment.
UPDATE supalove_quota.volume SET bytes = :'bytes', free_bytes = :'free', stopped = :'stopped', since = now()
WHERE stopped <> :'stopped';
