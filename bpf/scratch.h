/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The memory of this CPU that a program run has for a part of the packet: lengths that are
 * known only when it runs are allowed there, and not on the stack. */
#ifndef MAPXDP_SCRATCH_H
#define MAPXDP_SCRATCH_H

#include "portable.h"

INLINE struct scratch *the_scratch(void)
{
	__u32 only = 0;

	return kernel_map_lookup(MAP(scratch), &only);
}

/* A length that is `least` or more, and less than 64 octets beyond, as the verifier sees it. */
INLINE __u32 length_from(__u32 least, __u32 length)
{
	__u32 more = length - least;

	OPAQUE(more);
	return (more & 63) + least;
}

#endif
