/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Why a packet was translated, left alone or dropped: the one list of reasons.
 *
 * C makes its enum from it, Python its IntEnum, the counters their order, the command line
 * and docs/counters.md their words. Append only, within a class or not: the position is the
 * index of the pinned counters. Each reason is counted for each direction apart.
 *
 *   TRANSLATED  the packet crossed, as MAP-T or MAP-E says
 *   PASS        not ours: left to the kernel, untouched
 *   DROP        ours, and unacceptable
 *   EVENT       not a verdict: something that happened on the way, counted beside it
 */
#ifndef MAPXDP_REASONS_H
#define MAPXDP_REASONS_H

/* clang-format off */
#define MAPXDP_REASONS(X) \
	X(TRANSLATED, TRANSLATED, "translated or encapsulated") \
	X(PASS, NOT_IPV4, "not IPv4") \
	X(PASS, NOT_IPV6, "not IPv6") \
	X(PASS, DESTINATION_NOT_ROUTED, "multicast or broadcast") \
	X(PASS, DESTINATION_ON_LINK, "destination is on the WAN link (a modem's page)") \
	X(PASS, IPV6_HEADER_CUT, "IPv6 header is cut short") \
	X(PASS, NOT_MAP_ADDRESS, "not to this CE's MAP address") \
	X(PASS, SOURCE_OUTSIDE_DOMAIN, "to the MAP address, but neither from the DMR nor from an FMR") \
	X(PASS, NOT_ENCAPSULATED, "to the MAP address, but not IPv4 in IPv6") \
	X(DROP, MALFORMED_IPV4, "IPv4 header is broken") \
	X(DROP, MALFORMED_IPV6, "IPv6 payload length is wrong") \
	X(DROP, MALFORMED_TRANSPORT, "TCP, UDP or ICMP header is broken") \
	X(DROP, SOURCE_ROUTE, "IPv4 source route") \
	X(DROP, EXTENSION_HEADER, "IPv6 extension headers that cannot be skipped") \
	X(DROP, FRAGMENT_INVALID, "fragment that cannot be part of a datagram") \
	X(DROP, PROTOCOL_WITHOUT_PORTS, "a protocol without ports cannot share an address") \
	X(DROP, ICMP_NOT_CARRIED, "ICMP of a kind that has no counterpart") \
	X(DROP, UDP_CHECKSUM_ZERO, "UDP without a checksum cannot be translated") \
	X(DROP, TOO_BIG, "larger than the IPv4 MTU of the WAN") \
	X(DROP, SOURCE_NOT_OURS, "NAPT44 is off and the source is not this CE's") \
	X(DROP, PORT_OUTSIDE_SET, "port or ICMP id is outside the CE's port set") \
	X(DROP, PORTS_EXHAUSTED, "every port of the set is in use") \
	X(DROP, MAPPING_INDEX_FULL, "the index of mappings is full") \
	X(DROP, ALLOCATION_CONTENDED, "too many CPUs wanted a port at once") \
	X(DROP, NO_MAPPING, "no mapping: nothing on the LAN uses this port") \
	X(DROP, MAPPING_EXPIRED, "the mapping of this port has expired") \
	X(DROP, TUNNEL_SOURCE, "IPv4 in IPv6, but neither from the BR nor from an FMR") \
	X(DROP, INNER_DESTINATION, "inner IPv4 destination is not this CE's") \
	X(DROP, CONGESTION_MARK_LOST, "congestion mark on a flow without ECN") \
	X(DROP, KERNEL_REFUSED, "the kernel refused to change the packet") \
	X(DROP, PROGRAM_MISSING, "a program of the datapath is not loaded") \
	X(EVENT, MAPPING_CREATED, "port mappings created") \
	X(EVENT, MAPPING_RECLAIMED, "expired port mappings taken over") \
	X(EVENT, MAPPING_REVIVED, "expired mappings revived by their owner") \
	X(EVENT, ALLOCATION_RETRIED, "port searches begun again after a race") \
	X(EVENT, MSS_CLAMPED, "TCP handshake packets whose MSS was lowered") \
	X(TRANSLATED, HAIRPINNED, "sent back into the LAN, to a port of this CE") \
	X(DROP, FILTERED, "the remote was not contacted from this port") \
	X(DROP, TCP_NOT_OPENING, "TCP from the middle of a connection nobody knows") \
	X(DROP, HOST_LIMIT, "the LAN host has reached its share of ports or flows") \
	X(DROP, FLOWS_FULL, "the table of flows on shared ports is full") \
	X(DROP, VIRTUAL_PORT, "the port netfilter chose stands for none of the set") \
	X(EVENT, FLOW_CREATED, "flows on shared ports created") \
	X(EVENT, FLOW_RELEASED, "expired flows on shared ports released") \
	X(EVENT, PORT_SHARED, "ports added to the shared pool") \
	X(EVENT, PORT_UNSHARED, "ports taken out of the shared pool") \
	X(EVENT, EARLY_RECLAIMED, "closing mappings taken over early, under pressure") \
	X(EVENT, REFUSAL_SENT, "ICMP errors sent about refused packets") \
	X(EVENT, LOG_LOST, "log events left out: too many, or nobody reads them") \
	X(PASS, VLAN_TAGGED, "of a VLAN on top of the WAN interface") \
	X(DROP, DESTINATION_MARTIAN, "destination is no address on the Internet") \
	X(DROP, SOURCE_MARTIAN, "source is an address that no such packet can have") \
	X(TRANSLATED, FRAGMENT_KEPT, "fragments kept until the datagram is complete") \
	X(DROP, FRAGMENTS_FULL, "no room to keep another fragmented datagram") \
	X(DROP, QUOTE_INVALID, "ICMP error about a packet that this CE cannot have sent or got") \
	X(DROP, ICMP_CHECKSUM, "ICMP error with a wrong checksum") \
	X(DROP, BR_REFUSED, "the BR or a peer CE says that it has no binding for our packets") \
	X(DROP, ROUTING_HEADER, "IPv6 routing header that has not come to its end") \
	X(DROP, SOURCE_INCONSISTENT, "IPv6 source, IPv4 source and port do not belong together") \
	X(DROP, NOT_GLOBAL, "64:ff9b::/96 cannot stand for a private address") \
	X(EVENT, ICMP_ERROR_CARRIED, "ICMP errors carried across") \
	X(EVENT, DATAGRAM_FRAGMENTED, "packets cut into fragments") \
	X(EVENT, DATAGRAM_REASSEMBLED, "datagrams put together from their fragments") \
	X(EVENT, FRAGMENTS_EXPIRED, "fragmented datagrams of which something never came") \
	X(EVENT, UDP_CHECKSUM_COMPUTED, "UDP packets given the checksum they lacked") \
	X(EVENT, UDP_CHECKSUM_ABSENT, "UDP packets from the WAN that lacked a checksum") \
	X(EVENT, ACCELERATED, "packets of these that passed the kernel by")
/* clang-format on */

#define MAPXDP_REASON_ENUMERATOR(class_, name, text) REASON_##name,
enum reason { MAPXDP_REASONS(MAPXDP_REASON_ENUMERATOR) REASON_COUNT };

/* Functions return a reason, and "go on" is 0: `if (reason) return reason`. */
_Static_assert(REASON_TRANSLATED == 0, "TRANSLATED is the first reason of the list");

enum reason_class { CLASS_TRANSLATED, CLASS_PASS, CLASS_DROP, CLASS_EVENT };

#endif
