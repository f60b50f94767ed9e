/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which configuration is in force, and what time it is. */
#ifndef MAPXDP_CONFIG_H
#define MAPXDP_CONFIG_H

#include "portable.h"

/* Asked for once in a program run: a configuration is never mixed with the next one. */
INLINE const struct config *active_config(void)
{
	struct config_buffer *buffer = MAP_VALUE(config);

	return &buffer->half[READ_ONCE(buffer->active) & 1];
}

/* Ticks of a second or a little more, since some moment before the kernel's start. */
INLINE __u32 current_tick(const struct config *config)
{
	return (kernel_jiffies64() >> (config->tick_shift & 63)) + config->tick_offset;
}

#endif
