/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The consecutive ports that stand for the port set in netfilter mode, position by position:
 * the kernel's NAPT44 takes one range. mapxdp/model/virtual_range.py does the same. */
#ifndef MAPXDP_VIRTUAL_PORT_H
#define MAPXDP_VIRTUAL_PORT_H

#include "contract.h"
#include "inline.h"
#include "port_set.h"

/* Whether `port` stands for one of the set: `real`. */
INLINE _Bool port_of_virtual(const struct config *config, const struct port_set *set, __u32 port,
			     __u16 *real)
{
	__u32 slot = port - config->virtual_base;

	if (slot >= config->port_count)
		return 0;
	*real = port_of_slot(set, slot);
	return 1;
}

/* `port` must be in the set. */
INLINE __u16 virtual_of_port(const struct config *config, const struct port_set *set, __u32 port)
{
	return config->virtual_base + slot_of_port(set, port);
}

#endif
