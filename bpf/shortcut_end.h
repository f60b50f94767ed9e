/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What opens, closes or resets a connection changes the state of its mapping: its shortcuts end, so
 * that the next packet is the kernel's, and the translator's, which keeps that state. */
#ifndef MAPXDP_SHORTCUT_END_H
#define MAPXDP_SHORTCUT_END_H

#include "shortcut.h"

INLINE void end_if_open(struct shortcut *shortcut, __u32 now)
{
	__u64 life;

	if (!shortcut)
		return;
	life = READ_ONCE(shortcut->life);
	if (shortcut_state(life) >= SHORTCUT_SEEN && shortcut_ticks_left(life, now) >= 0)
		end_shortcut(shortcut, life, now);
}

/* Both directions of the connection that a packet belongs to. `port`: the external one. */
INLINE void end_shortcuts(const struct config *config, enum protocol_index protocol,
			  const struct endpoint *host, __u16 port, __be32 remote, __u16 remote_port)
{
	struct shortcut_key up =
		shortcut_key(protocol, host->ipv4, host->port, remote, remote_port);
	struct shortcut_key down = shortcut_key(protocol, config->ipv4, port, remote, remote_port);
	__u32 now = current_tick(config);

	end_if_open(find_shortcut(MAP(shortcuts_46), config, &up), now);
	end_if_open(find_shortcut(MAP(shortcuts_64), config, &down), now);
}

#endif
