/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a packet does to the state of its mapping: a pure function of old state and packet.
 *
 * The state is a set of facts (who sent FIN, who answered), not the name of a phase: two CPUs
 * that see the two directions at once lose nothing. Facts choose the timeout (RFC 5382 REQ-5,
 * RFC 7857 section 2, RFC 4787 REQ-5, RFC 5508 REQ-2) through a table in the configuration.
 */
#ifndef MAPXDP_MAPPING_STATE_H
#define MAPXDP_MAPPING_STATE_H

#include "contract.h"
#include "inline.h"
#include "packet.h"

enum port_with_timeouts { PORT_DNS = 53, PORT_NTP = 123, PORT_QUIC = 443 };

struct mapping_state {
	__u64 flags; /* enum mapping_flag */
	__u64 peer;  /* first remote: IPv4 (network order) | port << 32 */
};

/* RFC 4787 REQ-5a: well-known ports may have timeouts of their own. */
INLINE enum timeout_class timeout_class_of(const struct transport *transport, __u64 peer)
{
	if (transport->index != INDEX_UDP)
		return transport->index == INDEX_TCP ? TIMEOUT_TCP : TIMEOUT_ICMP;
	switch (peer >> 32) {
	case PORT_DNS:
	case PORT_NTP:
		return TIMEOUT_QUERY;
	case PORT_QUIC:
		return TIMEOUT_QUIC;
	default:
		return TIMEOUT_UDP;
	}
}

INLINE __u64 first_flags(const struct transport *transport)
{
	return (transport->tcp_flags & TCP_SYN ? 0 : FLAG_CONFIRMED) |
	       (transport->tcp_flags & TCP_FIN ? FLAG_FIN_46 : 0) |
	       (transport->tcp_flags & TCP_RST ? FLAG_RST : 0);
}

/* RFC 9293 section 3.5: a SYN that answers none. */
INLINE _Bool is_opening(const struct transport *transport)
{
	return (transport->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* A reset begins nothing, nor does the answer to a ping that nobody sent (RFC 5508 REQ-1). */
INLINE _Bool may_begin(const struct transport *transport)
{
	if (transport->index == INDEX_ICMP)
		return transport->icmp_type != ICMP_ECHO_REPLY;
	return !(transport->tcp_flags & TCP_RST);
}

/* Reset, or FIN from both ends. */
INLINE _Bool is_closing(__u64 flags)
{
	const __u64 both = FLAG_FIN_46 | FLAG_FIN_64;

	return (flags & FLAG_RST) || (flags & both) == both;
}

INLINE struct mapping_state mapping_after_46(struct mapping_state state,
					     const struct transport *transport, __u64 peer)
{
	/* The same LAN port, closed and opened again: a new connection, perhaps elsewhere. */
	if (is_opening(transport) && is_closing(state.flags) &&
	    !(state.flags & FLAG_SEVERAL_PEERS)) {
		state.peer = peer;
		state.flags = first_flags(transport);
		return state;
	}
	if (peer != state.peer)
		state.flags |= FLAG_SEVERAL_PEERS;
	/* RFC 7857 section 2.2: traffic after a reset proves it void. */
	if (!(transport->tcp_flags & TCP_RST))
		state.flags &= ~(__u64)FLAG_RST;
	state.flags |= first_flags(transport);
	return state;
}

/* Only the first peer is believed: others could be anybody. Whether a reset was void, only the
 * LAN can say: a remote that could take its own reset back would hold the port for ever. */
INLINE struct mapping_state mapping_after_64(struct mapping_state state,
					     const struct transport *transport, __u64 peer)
{
	if (peer != state.peer)
		return state;
	if (transport->tcp_flags & TCP_RST) {
		state.flags |= FLAG_RST;
		return state;
	}
	state.flags |= FLAG_ANSWERED | (transport->tcp_flags & TCP_FIN ? FLAG_FIN_64 : 0);
	return state;
}

#endif
