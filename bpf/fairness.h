/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What each LAN host uses, and whether it may have more: one greedy host must not starve the
 * others (docs/napt44.md, "Fairness"). */
#ifndef MAPXDP_FAIRNESS_H
#define MAPXDP_FAIRNESS_H

#include "byteorder.h"
#include "napt44.h"
#include "pool.h"

/* A sixteenth of the ports is not for the shared pool, except for small hosts. */
enum { POOL_RESERVE_SHIFT = 4 };

INLINE struct host *host_at(__be32 ipv4)
{
	__u32 bucket = host32(ipv4) & (HOSTS - 1);

	return kernel_map_lookup(MAP(hosts), &bucket);
}

INLINE void count_port(__be32 ipv4, __u32 index, __s64 change)
{
	struct host *host = host_at(ipv4);

	if (host)
		add_to(count_of(host->ports, index), change);
	if (change < 0)
		add_to(&the_pool()->released, 1);
}

INLINE void count_flow(__be32 ipv4, __s64 change)
{
	struct host *host = host_at(ipv4);

	if (host)
		add_to(&host->flows, change);
	note_flow_count(change);
	if (change < 0)
		add_to(&the_pool()->released, 1);
}

INLINE void count_refused(__be32 ipv4)
{
	struct host *host = host_at(ipv4);

	if (host)
		add_to(&host->refused, 1);
}

/* What a host may still take. */
struct allowance {
	_Bool any_own;	/* a port of its own, if only an expired one */
	_Bool free_own; /* a free port of its own */
	_Bool pool;	/* a free port for the shared pool */
	_Bool flow;
	_Bool some_free; /* there are free ports, for whoever may */
};

INLINE struct allowance allowance_of(const struct applicant *applicant)
{
	const struct config *config = applicant->config;
	__u32 index = applicant->endpoint.protocol;
	struct host *host = host_at(applicant->endpoint.ipv4);
	struct allowance allowance = {};
	__u64 ports, flows, free;
	_Bool small;

	if (!host)
		return allowance;
	ports = READ_ONCE(*count_of(host->ports, index));
	flows = READ_ONCE(host->flows);
	free = READ_ONCE(*count_of(the_pool()->used, index));
	free = free < config->usable_ports ? config->usable_ports - free : 0;
	small = ports + flows < config->host_ports_min;
	allowance.any_own = ports < config->host_ports_max;
	allowance.free_own = allowance.any_own && (small || ports < free);
	allowance.pool = small || free > config->port_count >> POOL_RESERVE_SHIFT;
	allowance.flow = flows < config->host_flows_max;
	allowance.some_free = free > 0;
	return allowance;
}

#endif
