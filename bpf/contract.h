/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every value that the datapath and its control plane both see, and nothing else.
 *
 * Python reads this file to learn names, sizes and offsets; it has no copy of any of them,
 * and has the compiler confirm what it read. The file therefore keeps to a small grammar:
 * enums, and structs of fixed-width integers, arrays and other structs, padded by hand.
 * A __be field holds bytes in network order; a __u field a number in host order.
 */
#ifndef MAPXDP_CONTRACT_H
#define MAPXDP_CONTRACT_H

#include <linux/types.h>

enum direction { DIRECTION_46, DIRECTION_64, DIRECTIONS };

/* Positions in the counters: room for reasons to come, so that an upgrade keeps the map. */
enum counter_geometry { REASONS_MAX = 64 };

/* The three protocols that NAPT44 knows; each has the whole port set to itself. */
enum protocol_index { INDEX_TCP, INDEX_UDP, INDEX_ICMP, PROTOCOLS };

enum napt44_mode {
	NAPT44_NONE, /* packets already carry this CE's address and a port of its set */
	NAPT44_BPF,
};

/* What a slot is: bits 48 to 55 of its owner word. */
enum slot_state {
	SLOT_FREE,
	SLOT_EIM,      /* one LAN endpoint uses the port towards any remote */
	SLOT_RESERVED, /* never handed out */
	SLOT_CLAIMED,  /* being filled by the one program run that claimed it */
	SLOT_DYING,    /* being taken from its owner by one program run */
};

/* What was seen of a mapping's traffic. Together they choose its timeout. */
enum mapping_flag {
	FLAG_SYN_46 = 1,
	FLAG_SYN_64 = 2,
	FLAG_FIN_46 = 4,
	FLAG_FIN_64 = 8,
	FLAG_RST = 16,
	FLAG_ANSWERED = 32,
	FLAG_SEVERAL_PEERS = 64,
	FLAG_COMBINATIONS = 128,
	TIMEOUTS = 4 * FLAG_COMBINATIONS, /* a power of two above PROTOCOLS * FLAG_… */
};

enum config_geometry {
	ON_LINK_MAX = 8,
	BITMAP_WORD_BITS = 64,
	SCAN_SLOTS = 512, /* slots one run of the reclaim program looks at */
};

/* The programs that the entry programs tail-call. */
enum program_index { PROGRAM_ALLOCATE, PROGRAM_RECLAIM, PROGRAMS };

struct ipv4_prefix {
	__be32 address;
	__be32 mask;
};

/* One configuration; everything that can be computed beforehand is. */
struct config {
	__be32 map_address[4];
	__be32 far_end[4]; /* MAP-T: the DMR prefix. MAP-E: the BR's address */
	__be32 ipv4;
	__be32 ipv4_mask;  /* all ones unless an IPv4 prefix was assigned */
	__u32 dmr_length;  /* bits; 0 in MAP-E */
	__u32 napt44;	   /* enum napt44_mode */
	__u32 psid_offset; /* a */
	__u32 psid_length; /* k */
	__u32 psid;
	__u32 port_count; /* ports in the set */
	__u32 ipv4_mtu;
	__u32 mss;	   /* largest MSS let through; 0 leaves it alone */
	__u32 tick_shift;  /* jiffies >> this = ticks of one second or a little more */
	__u32 tick_offset; /* added to the tick: lets a test move the clock */
	__u32 on_link_count;
	__u32 reserved;
	struct ipv4_prefix on_link[ON_LINK_MAX];
	__u32 timeout[TIMEOUTS]; /* ticks, at protocol_index * FLAG_COMBINATIONS + flags */
};

/* Double-buffered: the half that is not active is rewritten, then `active` is flipped. */
struct config_buffer {
	__u64 active;
	struct config half[2];
};

/* One port of the set for one protocol; its position says which. One cache line. */
struct slot {
	__u64 owner;   /* IPv4 (network order) | port << 32 | slot_state << 48; 0 = free.
				 * Changed only by compare-and-swap or exchange. */
	__u32 tick_46; /* last packet from the LAN */
	__u32 tick_64; /* last packet from the WAN that changed `flags` */
	__u64 flags;   /* enum mapping_flag */
	__u64 peer;    /* first remote: IPv4 (network order) | port << 32 */
	__u32 created; /* tick */
	__u32 reserved32;
	__u64 reserved[3];
};

/* A LAN endpoint, the key of the endpoint-independent index. */
struct endpoint {
	__be32 ipv4;
	__u16 port;
	__u8 protocol; /* enum protocol_index */
	__u8 zero;
};

/* Which slots are taken: a hint for the search, never the truth. Bits past the port set,
 * and those of reserved ports, are set from the beginning. */
struct bitmap {
	__u64 full_tick[PROTOCOLS]; /* tick + 1 of the last search that found nothing */
	__u64 taken[PROTOCOLS * SLOTS / BITMAP_WORD_BITS];
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* Written once by the control plane: what the pinned maps are, and since when. */
struct instance {
	__u64 layout;	  /* fingerprint of this file and of maps.h */
	__u64 port_set;	  /* fingerprint of the IPv4 address and port set */
	__u64 created_ns; /* CLOCK_BOOTTIME */
};

#endif
