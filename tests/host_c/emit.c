/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs of a mode (PROGRAMS_OF: mapt.bpf.c or mape.bpf.c) ask of the kernel when
 * they write a packet, in order, and what they make of a refusal.
 *
 * The kernel's helpers are variables in portable.h; here they are functions that say their
 * name. The argument names those that fail. A line for each direction: the reason, and the
 * names.
 */
#include <stdio.h>
#include <string.h>

#include PROGRAMS_OF

static const char *failing;
static __u32 pulled;

static long called(const char *name)
{
	printf(" %s", name);
	return strstr(failing, name) ? -12 : 0; /* ENOMEM */
}

static long pull_data(void *skb, __u32 length)
{
	(void)skb;
	pulled = length;
	return called("pull_data");
}

static long store_bytes(void *skb, __u32 offset, const void *from, __u32 length, __u64 flags)
{
	(void)skb, (void)offset, (void)from, (void)length, (void)flags;
	return called("store_bytes");
}

static long l4_csum_replace(void *skb, __u32 offset, __u64 from, __u64 to, __u64 flags)
{
	(void)skb, (void)offset, (void)from, (void)to, (void)flags;
	return called("l4_csum_replace");
}

static long change_proto(void *skb, __be16 protocol, __u64 flags)
{
	(void)skb, (void)protocol, (void)flags;
	return called("change_proto");
}

static long adjust_room(void *skb, __s32 change, __u32 mode, __u64 flags)
{
	(void)skb, (void)change, (void)mode;
	return called(flags & BPF_F_ADJ_ROOM_DECAP_L3_IPV4 ? "remove_tunnel" : "adjust_room");
}

static void *lookup(void *map, const void *key)
{
	(void)map, (void)key;
	return NULL;
}

/* The types of `out` differ from mode to mode. */
#define EMIT(direction, emit, ...)                                                                 \
	do {                                                                                       \
		struct __VA_ARGS__ out = {.change = {.pseudo_header = 1, .data = 1}};              \
                                                                                                   \
		printf(#direction);                                                                \
		printf(" %d\n", emit(&skb, &transport, &out));                                     \
	} while (0)

int main(int count, char **arguments)
{
	struct transport transport = {.offset = 34, .header_length = 32};
	struct __sk_buff skb = {};

	failing = count > 1 ? arguments[1] : "";
	kernel_map_lookup = lookup;
	kernel_skb_pull_data = pull_data;
	kernel_skb_store_bytes = store_bytes;
	kernel_l4_csum_replace = l4_csum_replace;
	kernel_skb_change_proto = change_proto;
	kernel_skb_adjust_room = adjust_room;
	EMIT(46, emit_46, UPSTREAM_OUT);
	EMIT(64, emit_64, DOWNSTREAM_OUT);
	printf("pulled %u\n", pulled);
	return 0;
}
