/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv4 options (RFC 791 section 3.1) before translation, which leaves them out: a source route
 * that has not come to its end forbids it (RFC 7915 section 4.1). */
#ifndef MAPXDP_IPV4_OPTIONS_H
#define MAPXDP_IPV4_OPTIONS_H

#include <linux/types.h>

#include "inline.h"
#include "reasons.h"

enum ipv4_option {
	IPV4_OPTION_END = 0,
	IPV4_OPTION_NOP = 1,
	IPV4_OPTION_LOOSE_ROUTE = 131,
	IPV4_OPTION_STRICT_ROUTE = 137,
};

enum { IPV4_OPTIONS_MAX = 40, IPV4_ROUTE_LEAST = 3 };

/* What is read of the memory that options lie in, whatever they say: a position below
 * POSITION_MASK, and two octets after it. */
enum { POSITION_MASK = 63, IPV4_OPTIONS_ROOM = POSITION_MASK + IPV4_ROUTE_LEAST };

/* What keeps a packet with these options from being translated; `options` is memory of
 * IPV4_OPTIONS_ROOM octets. There is a router to go to where the pointer of a route says,
 * unless that is past its end. */
INLINE enum reason check_options(const __u8 *options, __u32 length)
{
	__u32 position = 0;
	__u32 to_go = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < IPV4_OPTIONS_MAX; i++) {
		const __u8 *option = options + (position & POSITION_MASK);
		__u32 is_nop, is_route, step;

		OPAQUE(option);
		if (position >= length || option[0] == IPV4_OPTION_END)
			break;
		is_nop = is_same(option[0], IPV4_OPTION_NOP);
		is_route = is_same(option[0], IPV4_OPTION_LOOSE_ROUTE) |
			   is_same(option[0], IPV4_OPTION_STRICT_ROUTE);
		step = is_nop | (option[1] & (is_nop - 1));
		if (step + is_nop < 2 + is_route || step > length - position) {
			if (!to_go)
				return REASON_MALFORMED_IPV4;
			break;
		}
		to_go |= is_route & (option[2] - step - 1) >> 31;
		position += step;
	}
	return to_go ? REASON_SOURCE_ROUTE : REASON_TRANSLATED;
}

#endif
