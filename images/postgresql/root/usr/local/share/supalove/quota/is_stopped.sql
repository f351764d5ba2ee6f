-- SPDX-License-Identifier: GPL-3.0-or-later
-- Whether tenants are stopped, or are to be.
SELECT stopped FROM supalove_quota.volume;
