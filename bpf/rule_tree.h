/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The longest prefix around an address of either family, by a tree in an array: each step looks at
 * TREE_BITS of the address and reads one cache line. The kernel's own tries take a step, and a
 * line, for each bit that tells prefixes apart. What all of them begin with is compared at once.
 *
 *   node 0 ── first bits behind the root ──► node n ── next bits ──► ... ──► TREE_END | position
 *
 * Where a prefix ends within a step, or goes on around longer ones, its position is there in more
 * than one way: nothing has to be looked at twice. */
#ifndef MAPXDP_RULE_TREE_H
#define MAPXDP_RULE_TREE_H

#include "map_address.h"
#include "portable.h"

enum { ADDRESS_BITS = 128, TREE_STEPS_MAX = ADDRESS_BITS / TREE_BITS };

/* An IPv4 address is the first bits of one that is as long as any. */
INLINE struct address_bits bits_of_ipv4(__be32 ipv4)
{
	struct address_bits bits = {.high = (__u64)host32(ipv4) << 32};

	return bits;
}

/* What follows the first `length` bits, which are fewer than 64. */
INLINE struct address_bits bits_behind(struct address_bits bits, __u32 length)
{
	struct address_bits rest = {
		.high = bits.high << (length & 63) | bits.low >> 1 >> ((63 - length) & 63),
		.low = bits.low << (length & 63),
	};

	return rest;
}

/* The position of the longest prefix's rule, or `nothing`. */
INLINE __u32 find_in_tree(void *tree, const struct tree_root *root, struct address_bits bits,
			  __u32 nothing)
{
	__u32 next = 0;

	if ((bits.high ^ root->prefix) & root->mask)
		return nothing;
	bits = bits_behind(bits, root->length);
#pragma clang loop unroll(disable)
	for (__u32 step = 0; step < TREE_STEPS_MAX && !(next & TREE_END); step++) {
		const struct tree_node *node = kernel_map_lookup(tree, &next);

		if (!node)
			return nothing;
		next = node->next[bits.high >> (64 - TREE_BITS)];
		bits = bits_behind(bits, TREE_BITS);
	}
	return next & ~TREE_END;
}

#endif
