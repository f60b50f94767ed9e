/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control program: a command in place of an Ethernet frame's payload, attached nowhere. */
#ifndef MAPXDP_HOOK_TC_CONTROL_H
#define MAPXDP_HOOK_TC_CONTROL_H

#include "control.h"
#include "hook_tc.h"

enum { COMMAND_OFFSET = 14 };

INLINE int tc_control(struct __sk_buff *skb)
{
	struct command command;

	if (kernel_skb_load_bytes(skb, COMMAND_OFFSET, &command, sizeof(command)))
		return COMMAND_MALFORMED;
	return obey(&command);
}

#endif
