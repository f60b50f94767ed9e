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
enum counter_geometry { REASONS_MAX = 128 };

/* The three protocols that NAPT44 knows; each has the whole port set to itself. */
enum protocol_index { INDEX_TCP, INDEX_UDP, INDEX_ICMP, PROTOCOLS };

enum napt44_mode {
	NAPT44_NONE, /* packets already carry this CE's address and a port of its set */
	NAPT44_BPF,
	NAPT44_NETFILTER, /* the kernel's NAPT44 uses a contiguous range, which stands for the set */
};

/* The owner word of a slot or flow: IPv4 address (network order), port, state. */
enum owner_layout { OWNER_PORT_SHIFT = 32, OWNER_STATE_SHIFT = 48 };

/* What a slot or a flow is. */
enum slot_state {
	SLOT_FREE,
	SLOT_EIM,      /* one LAN endpoint uses the port towards any remote */
	SLOT_RESERVED, /* never handed out */
	SLOT_CLAIMED,  /* being filled by the one program run that claimed it */
	SLOT_DYING,    /* being taken from its owner by one program run */
	SLOT_SHARED,   /* nobody's: flows use the port, each towards one remote */
	SLOT_STATIC,   /* a port forward: one LAN endpoint's, whether it sends or not */
	SLOT_FLOW,     /* of a flow: one LAN endpoint uses a shared port towards one remote */
};

/* What is known of a mapping's packets; the index of its timeout. */
enum mapping_flag {
	FLAG_CONFIRMED = 1, /* the LAN sent more than a SYN */
	FLAG_FIN_46 = 2,
	FLAG_FIN_64 = 4,
	FLAG_RST = 8,
	FLAG_ANSWERED = 16,
	FLAG_SEVERAL_PEERS = 32,
	FLAG_COMBINATIONS = 64,
};

/* Which timeouts a mapping has, by its protocol and the port of its first peer. */
enum timeout_class {
	TIMEOUT_TCP,
	TIMEOUT_UDP,
	TIMEOUT_ICMP,
	TIMEOUT_QUERY, /* DNS and NTP over UDP: a question and its answer */
	TIMEOUT_QUIC,
	TIMEOUT_CLASSES = 8, /* a power of two */
	TIMEOUTS = TIMEOUT_CLASSES * (FLAG_COMBINATIONS + 0),
};

/* How LAN endpoints get ports (RFC 4787 section 4.1, RFC 7857 section 3). */
enum mapping_policy {
	MAPPING_AUTO, /* shared towards well-known ports, else a port of its own while there are */
	MAPPING_EIM,  /* always a port of its own, endpoint-independent */
	MAPPING_SHARED, /* always shared, one remote at a time */
};

/* Who may send to a mapped port (RFC 4787 section 5). */
enum filtering {
	FILTERING_EIF,	/* anyone */
	FILTERING_ADF,	/* addresses the endpoint has sent to */
	FILTERING_APDF, /* addresses and ports it has sent to */
};

enum traffic_class { TRAFFIC_CLASS_COPY = 256 };

enum log_level { LOG_OFF, LOG_MAPPINGS, LOG_DESTINATIONS };

/* Whether closing mappings must make room. */
enum pressure { PRESSURE_NONE, PRESSURE_FULL, PRESSURES };

/* Octets that are summed up at a time: as many as the kernel's helper takes. */
enum scratch_geometry { SCRATCH_OCTETS = 512, SCRATCH_WORDS = 132 };

/* Who owns the ports of an address under a mapping rule (RFC 7597 section 5.2). */
enum rule_kind {
	RULE_UNSHARED,	  /* one CE owns them all */
	RULE_SHARED,	  /* the CE whose EA bits hold the port's PSID */
	RULE_OF_ONE_PSID, /* the CE with the explicit PSID; others have rules of their own */
};

enum rule_geometry {
	NO_PORT = 65536,    /* of a packet without ports: no shared address has room for it */
	RULE_CHAIN_MAX = 4, /* rules that are asked for one destination, one after the other */
};

/* Where a rule is in the table of them; of a destination without one, the DMR or the BR. */
enum rule_position { DMR_RULE, NO_RULE = 0x7fffffff };

/* The trees in which rules are found by address. */
enum tree_geometry {
	TREE_BITS = 4, /* that a step looks at */
	TREE_WAYS = 16,
	TREE_END = 0x80000000, /* beside a rule's position: no node follows */
};

/* Room to move the end of an ICMP error, with zeros before it; beyond what is used of it, for the
 * verifier. */
enum objects_geometry { OBJECTS_PADDING = 128, OBJECTS_MAX = 2048 };

enum config_geometry {
	ON_LINK_MAX = 8,
	WORD_BITS = 64,
	SCAN_SLOTS = 1024, /* slots one run of the reclaim program looks at */
	SWEEP_FLOWS = 512, /* flows one run of the sweep looks at */
	HOSTS = 4096,	   /* LAN hosts counted apart, by the last 12 bits of their address */
	FLOW_HINTS = 16,
	GATES = 256, /* remotes remembered for which no shared port is left */
};

/* The programs that the entry programs tail-call. */
enum program_index {
	PROGRAM_ENTRY,
	PROGRAM_ALLOCATE,
	PROGRAM_RECLAIM,
	PROGRAM_SHARE,
	PROGRAM_FLOW,
	PROGRAM_SWEEP,
	PROGRAM_HAIRPIN,
	PROGRAM_REFUSE,
	PROGRAM_ENTRY_64,
	PROGRAM_REFUSE_64,
	PROGRAM_ERROR,	  /* ICMP errors from the LAN */
	PROGRAM_ERROR_64, /* ICMP and ICMPv6 errors from the WAN */
	PROGRAM_FRAGMENT, /* fragments from the LAN, and what has to be cut */
	PROGRAM_FRAGMENT_64,
	PROGRAM_EXTENSION_64, /* packets with IPv6 extension headers */
	PROGRAM_OPTIONS,      /* MAP-T: packets with IPv4 options */
	PROGRAM_CHECKSUM,     /* MAP-T: UDP from the LAN without a checksum */
	PROGRAM_OTHER,	      /* protocols without ports, where the address is not shared */
	PROGRAM_OTHER_64,
	PROGRAM_MSS, /* SYNs with options */
	PROGRAM_MSS_64,
	PROGRAM_FIRST,	/* first fragments from the LAN: what PROGRAM_ENTRY is to packets */
	PROGRAM_PIECES, /* fragments on their way out, and what has to be cut */
	PROGRAM_PIECES_64,
	PROGRAM_SEND, /* payload that is in a buffer, piece by piece */
	PROGRAM_SEND_64,
	PROGRAM_ABANDON, /* first fragments that are dropped on the ladder */
	PROGRAMS,
};

struct ipv4_prefix {
	__be32 address;
	__be32 mask;
};

/* What all prefixes of a tree begin with, so far as it is less than 64 bits. Numbers as in struct
 * rule: the high half of an address, of which IPv4 is the first 32 bits. */
struct tree_root {
	__u64 prefix;
	__u64 mask;
	__u32 length; /* a multiple of TREE_BITS */
	__u32 zero;
};

/* A cache line: by the next bits of an address, the position of the next node, or TREE_END. */
struct tree_node {
	__u32 next[TREE_WAYS];
};

/* One configuration; everything that can be computed beforehand is. */
struct config {
	__be32 map_address[4];
	__be32 far_end[4]; /* MAP-T: the DMR prefix. MAP-E: the BR's address */
	__be32 ipv4;
	__be32 ipv4_mask;	/* all ones unless an IPv4 prefix was assigned */
	__be32 host_mask;	/* MAP-T of a prefix: what of an IPv4 address is shown beside it */
	__be32 map_mask[4];	/* all ones but for the bits that show it */
	__u32 identifier_shift; /* how far up the interface identifier is: 8 in draft-03 */
	__u32 rule_count;	/* FMRs */
	__u32 rules_in_dmr;	/* an FMR's IPv6 prefix is the DMR or under it */
	struct tree_root ipv4_root; /* of their IPv4 prefixes */
	struct tree_root ipv6_root; /* of their IPv6 prefixes, with rules_in_dmr the DMR too */
	__u32 dmr_length;	    /* bits; 0 in MAP-E */
	__u32 napt44;		    /* enum napt44_mode */
	__u32 psid_offset;	    /* a */
	__u32 psid_length;	    /* k */
	__u32 psid;
	__u32 port_count;   /* ports in the set */
	__u32 usable_ports; /* without reserved ones */
	__u32 ipv4_mtu;
	__u32 ipv6_mtu;	       /* of the WAN */
	__u32 lowest_ipv6_mtu; /* IPv4 without DF is cut to what fits this (RFC 7915 section 4.1) */
	__u32 mss;	       /* largest MSS let through; 0 leaves it alone */
	__u32 traffic_class;   /* the one every packet gets; TRAFFIC_CLASS_COPY: its own */
	__u32 compute_udp_checksum; /* of UDP from the LAN without one; 0: such packets are dropped */
	__be32 icmp_error_source;   /* of routers without an address; without NAPT44 ours, too */
	__u32 fragment_inner;	    /* MAP-E: cut the IPv4 packet, not the IPv6 one */
	__u32 tick_shift;	    /* jiffies >> this = ticks of one second or a little more */
	__u32 tick_offset;	    /* added to the tick: lets a test move the clock */
	__u32 on_link_count;
	__u32 virtual_base; /* NAPT44_NETFILTER: the port that stands for the first of the set */
	struct ipv4_prefix on_link[ON_LINK_MAX];
	__u32 mapping[PROTOCOLS];   /* enum mapping_policy */
	__u32 filtering[PROTOCOLS]; /* enum filtering */
	__u32 shared_below;	    /* MAPPING_AUTO shares towards remote ports below this */
	__u32 shared_target;	    /* ports the shared pool grows to before flows share one */
	__u32 host_ports_min;	    /* ports a host gets of its own, however few are free */
	__u32 host_ports_max;	    /* and at most; for each protocol */
	__u32 host_flows_max;	    /* flows on shared ports, all protocols together */
	__u32 pick_up;		    /* TCP in the middle of a connection may begin a mapping */
	__u32 early_reclaim;	    /* when full, closing mappings expire by early_timeout */
	__u32 refusal_code;	    /* of the ICMP error (type 3) to a refused host; 0: none */
	__u32 refusals_per_tick;
	__u32 log;	      /* enum log_level */
	__u32 log_per_tick;   /* events at most */
	__u32 shortcut_ticks; /* a shortcut lasts, before the kernel sees a packet again; 0: none */
	__u32 shortcut_mask;  /* places in the table of them, less one */
	__u64 hash_key;	      /* secret; where an endpoint looks for a shared port first */
	/* Ticks, at pressure * TIMEOUTS + timeout_class * FLAG_COMBINATIONS + flags. */
	__u32 timeout[PRESSURES * (TIMEOUTS + 0)];
};

/* Double-buffered: the half that is not active is rewritten, then `active` is flipped. */
struct config_buffer {
	__u64 active;
	struct config half[2];
};

/* A forwarding mapping rule (RFC 7597 section 5), and what follows from it. Addresses are numbers
 * in host order here: those of IPv6 the high and the low half. Written with the configuration. */
struct rule {
	__u64 prefix[2];       /* the Rule IPv6 prefix */
	__u64 identifier_mask; /* the bits of the interface identifier that no prefix overwrites */
	__u32 ipv4;	       /* the Rule IPv4 prefix */
	__u32 ipv4_mask;    /* what of an IPv4 address the rule and the EA bits say: r + p bits */
	__u32 shown_mask;   /* what of it the interface identifier shows */
	__u32 psid;	    /* RULE_OF_ONE_PSID */
	__u32 next;	    /* the rule to ask where this one knows no owner; 0: none */
	__u8 kind;	    /* enum rule_kind */
	__u8 ea_length;	    /* o */
	__u8 ea_shift;	    /* 128 - n - o */
	__u8 host_bits;	    /* 32 - r - p */
	__u8 embedded_psid; /* q */
	__u8 psid_offset;   /* a */
	__u8 psid_length;   /* k */
	__u8 identifier_shift; /* as in struct config */
	__u32 zero;
};

/* One of several rules for the same addresses, each with an explicit PSID. */
struct psid_key {
	__u32 rule; /* the one that is found by address */
	__u32 psid;
};

/* A port of the set for one protocol (its position says which), or a flow on a shared port.
 * One cache line. */
struct mapping {
	__u64 owner;	     /* IPv4 (network order) | port << 32 | slot_state << 48; 0 = free.
			      * Changed only by compare-and-swap or exchange. */
	__u32 tick_46;	     /* last packet from the LAN */
	__u32 tick_64;	     /* last packet from the WAN that changed `flags` */
	__u64 flags;	     /* enum mapping_flag */
	__u64 peer;	     /* first remote: IPv4 (network order) | port << 32 */
	__u32 created;	     /* tick */
	__u32 timeout_class; /* enum timeout_class */
	__u32 slot;	     /* of a flow: the index of its slot */
	__u32 generation;    /* of a slot: counts its mappings, so that permissions end with them */
	__u64 flow_count;    /* of a shared slot */
	__u64 reserved;
};

/* A LAN endpoint, the key of the endpoint-independent index. */
struct endpoint {
	__be32 ipv4;
	__u16 port;
	__u8 protocol; /* enum protocol_index */
	__u8 zero;
};

/* A flow, from either end; the key of the index of flows. */
struct flow_key {
	__u32 local; /* FLOW_46: IPv4 of the LAN (network order). FLOW_64: index of the slot */
	__be32 remote;
	__u16 port; /* of the LAN endpoint; 0 in FLOW_64 */
	__u16 remote_port;
	__u8 protocol; /* enum protocol_index */
	__u8 way;      /* enum flow_way */
	__u16 zero;
};

/* A FLOW_64 entry is the claim of (port, remote): only its flow's owner may delete it. */
enum flow_way { FLOW_46, FLOW_64 };

/* A remote that the owner of a slot has sent to, besides its first peer. */
struct permission_key {
	__u32 slot;
	__u32 generation;
	__be32 remote;
	__u16 remote_port; /* 0 where only the address counts */
	__u16 zero;
};

/* What LAN hosts use, at the last 12 bits of their address. */
struct host {
	__u64 ports[PROTOCOLS]; /* of their own */
	__u64 flows;		/* on shared ports */
	__u64 refused;		/* packets, because of a limit */
	__u64 reserved[3];
};

/* What is free, shared, or known to be full, beside the slots: hints and counts. Bits past the
 * port set, and those of reserved ports, are set from the beginning. */
struct pool {
	__u64 full_tick[PROTOCOLS];    /* tick + 1 of the last search that found nothing */
	__u64 used[PROTOCOLS];	       /* slots that are not free, reserved ones left out */
	__u64 high_water[PROTOCOLS];   /* the most there ever were */
	__u64 shared_count[PROTOCOLS]; /* slots that are shared */
	__u64 flow_count;
	__u64 flow_high_water;
	__u64 sweep_tick;     /* tick + 1 of the last round of the sweep that was completed */
	__u64 sweep_position; /* where it goes on */
	__u64 sweep_round;    /* tick << 32 | flows it has yet to look at in that tick */
	__u64 log_budget;     /* tick << 32 | events in it */
	__u64 refusal_budget; /* tick << 32 | ICMP errors in it */
	__u64 released;	      /* flows and ports of their own that hosts ever lost */
	__u64 flow_hint[FLOW_HINTS]; /* by CPU: words of flows_taken to begin the search at */
	__u64 gate[GATES]; /* hash of (protocol, remote) << 32 | tick: no shared port is left */
	__u64 taken[PROTOCOLS * SLOTS / WORD_BITS];
	__u64 shared[PROTOCOLS * SLOTS / WORD_BITS];
	__u64 flows_taken[FLOWS / WORD_BITS];
};

enum fragment_geometry {
	FRAGMENT_TICKS = 15, /* a fragmented datagram is remembered for */
	FRAGMENT_ENTRIES = 4096,
	DATAGRAMS = 64,	    /* kept at a time, to be put together */
	FRAGMENTS_MAX = 64, /* of one that is kept */
	DATAGRAM_SPACE = 65536,
	PIECE_MAX = 16384, /* octets that are moved at once */
	FIRST_HEADERS = 64,
};

/* Which fragments a key names: those of IPv4 from the LAN, of IPv6, of IPv4 in IPv6. */
enum fragment_kind { FRAGMENTS_46, FRAGMENTS_IPV6, FRAGMENTS_INNER };

/* What the fragments of one datagram have in common (RFC 791, RFC 8200 section 4.5). IPv4
 * addresses from the LAN are the first words of their fields, the rest being zero; inner ones are
 * both in `destination`, beside the tunnel's source. */
struct fragment_key {
	__be32 source[4];
	__be32 destination[4];
	__u32 identification;
	__u8 kind;     /* enum fragment_kind */
	__u8 protocol; /* of IPv4; else 0 */
	__u16 zero;
};

enum fragment_fate {
	FATE_NONE,	 /* nothing is known of them */
	FATE_FOLLOW,	 /* the first has crossed: the others follow it, with what it was given */
	FATE_KEPT,	 /* all are kept, in a buffer */
	FATE_OVERLAPPED, /* all are dropped */
	FATE_COMPLETE,	 /* of FATE_KEPT, in no entry: all have come */
};

/* What becomes of the fragments of a datagram. */
struct fragment_entry {
	__be32 far_end[4];  /* 46: where they go, in IPv6 */
	__be32 source;	    /* of IPv4: in MAP-E 46 and in 64 */
	__be32 destination; /* 64: the LAN host */
	__u32 tick;	    /* of the first fragment that came */
	__u16 identification;
	__u8 fate;   /* enum fragment_fate */
	__u8 buffer; /* FATE_KEPT: position in the datagrams */
};

/* Who may touch a datagram's buffer. Changed by compare-and-swap and exchange only. */
enum datagram_use {
	DATAGRAM_FREE,
	DATAGRAM_KEPT,	   /* nobody is at it */
	DATAGRAM_BUSY,	   /* one program run is */
	DATAGRAM_COMPLETE, /* one program run is on its way to send it */
};

struct fragment_range {
	__u16 offset;
	__u16 length;
};

/* The headers before the payload of a piece. */
enum piece_form {
	PIECE_IPV6_FRAGMENT, /* IPv6, and a Fragment header */
	PIECE_ENCAPSULATED,  /* IPv6, and an IPv4 header that says which fragment it is */
	PIECE_IPV4,
};

/* How payload in a buffer leaves. The headers are those of the whole. */
struct pieces {
	__be32 ipv6[10];
	__be32 ipv4[5];
	__u32 form;   /* enum piece_form */
	__u32 offset; /* of the payload in its datagram */
	__u32 length; /* octets */
	__u32 limit;  /* octets that fit a packet, after the headers */
	__u32 identification;
	__u32 more;   /* octets of the datagram follow, in other packets */
	__u32 is_cut; /* it came as one packet */
	__u32 bytes;  /* what it counts as */
	__u32 done;   /* octets that have left */
};

/* What a program run knows of a fragment; its stack has no room for it. */
struct fragment_work {
	struct fragment_key key;
	struct fragment_entry entry; /* to be remembered */
	struct pieces pieces;
};

/* A datagram of which fragments are kept, or a packet that is being cut. */
struct datagram {
	__u64 use; /* enum datagram_use */
	struct fragment_key key;
	__u32 tick;	/* of the first fragment that came */
	__u32 received; /* octets */
	__u32 total;	/* 0: not known yet */
	__u32 end;	/* of the fragments that came */
	__u32 count;	/* of fragments */
	__u32 nothing;	/* always 0 */
	__u32 start;	/* of the payload: 20 behind an inner header that was in it */
	__u32 zero;
	struct fragment_range fragments[FRAGMENTS_MAX];
	__u8 headers[FIRST_HEADERS]; /* the IP headers of the first fragment */
	struct pieces pieces;	     /* where all is ready to be sent */
	__u8 payload[DATAGRAM_SPACE + PIECE_MAX];
};

enum event_kind {
	EVENT_PORT_MAPPED,
	EVENT_PORT_RELEASED,
	EVENT_FLOW_MAPPED,
	EVENT_FLOW_RELEASED,
	EVENT_REFUSED,
};

/* One line of the log of mappings. */
struct event {
	__u64 time_ns;	/* CLOCK_MONOTONIC */
	__u32 kind;	/* enum event_kind */
	__u32 protocol; /* enum protocol_index */
	__be32 host;
	__u16 host_port;
	__u16 port;    /* of the set; 0 where none was given */
	__be32 remote; /* 0 unless destinations are logged */
	__u16 remote_port;
	__u16 zero;
};

/* What the control plane asks the control program to do; it comes as a packet. */
enum command_kind {
	COMMAND_FORWARD,      /* makes `slot` a port forward to `endpoint` */
	COMMAND_RESERVE,      /* takes `slot` out of use */
	COMMAND_RELEASE_SLOT, /* frees `slot`, whatever it is */
	COMMAND_RELEASE_FLOW, /* ends the flow at `slot` in the flows */
	COMMAND_SWEEP,	      /* one run of the sweep; COMMAND_CHANGED: there is more to do */
};

struct command {
	__u32 kind;
	__u32 slot;
	__u64 owner; /* as it was seen; nothing happens if it is another by now */
	struct endpoint endpoint;
};

enum command_result { COMMAND_DONE, COMMAND_CHANGED, COMMAND_INDEX_FULL, COMMAND_MALFORMED };

/* Memory of one CPU for parts of a packet. A little longer than what is used of it, which lets
 * the verifier see that it is not exceeded. */
struct scratch {
	__u32 word[SCRATCH_WORDS];
};

/* The extension objects of an ICMP error (RFC 4884), while the quote before them changes size. */
struct objects {
	__u8 zeros[OBJECTS_PADDING];
	__u8 octets[OBJECTS_MAX];
	__u8 beyond[OBJECTS_PADDING];
};

/* What has become of a shortcut. A word, changed by compare-and-swap and exchange only: until which
 * tick (included), state, and the flags its mapping has meanwhile. */
enum shortcut_state {
	SHORTCUT_FREE,
	SHORTCUT_CLAIMED,   /* being filled by the one program run that claimed it */
	SHORTCUT_SEEN,	    /* the kernel let a packet through; an answer has yet to come */
	SHORTCUT_CONFIRMED, /* and an answer */
};

enum shortcut_layout {
	SHORTCUT_STATE_SHIFT = 32,
	SHORTCUT_FLAGS_SHIFT = 40,
	SHORTCUT_WAYS = 4, /* places that one connection may take */
};

/* Of the two addresses (network order): the remote's is in the upper half. The local one is the LAN
 * host's in DIRECTION_46, our own in DIRECTION_64. */
enum shortcut_ends { SHORTCUT_REMOTE_SHIFT = 32, SHORTCUT_PORT_SHIFT = 16 };

/* One direction of a connection that may pass the kernel by: what the kernel did with the packet
 * that it let through last. It fills a cache line. All but `life`, `checked` and `mtu` is written while
 * it is claimed, which nobody does who could still be read. */
struct shortcut {
	__u64 life;
	__u64 ends;	       /* who talks: see enum shortcut_ends */
	__u32 ports;	       /* theirs: `local` | `remote` << 16; echo messages have one */
	__u16 translated_port; /* that the local one becomes */
	__u8 protocol;	       /* enum protocol_index */
	__u8 owner_state;      /* enum slot_state of the mapping */
	__u16 hop[6];	       /* next hop's and own link-layer address, as they lie in the frame */
	__u16 own[3];	       /* the link-layer address that it comes in for */
	__u16 mtu;	       /* of the kernel's route, in IPv4; 0: not asked yet */
	__be32 host;	       /* the LAN host */
	__u32 mapping;	       /* position in the slots or, of SLOT_FLOW, in the flows */
	__u32 generation;      /* of the mapping */
	__u32 checked;	       /* tick of the last look at the kernel's routes and neighbours */
	__u32 ifindex;	       /* it leaves through */
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
	__u64 hash_key;	  /* random, for struct config */
};

#endif
