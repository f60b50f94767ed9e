/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every map of the datapath. The control plane creates, pins and checks them from this list.
 *
 *   X(name, BPF_MAP_TYPE_, key, value, entries, BPF_F_ flags)
 *
 *   config     written by the control plane; read once by each program run
 *   rules      FMRs, from 1 on; these and the three indexes of them are written before anything
 *              is loaded, and never again: a new configuration has new ones
 *   rule_by_ipv4  tree: IPv4 destination -> the rule to ask first
 *   rule_by_ipv6  tree: IPv6 source -> its rule
 *   rule_by_psid  where explicit PSIDs share addresses: the others of those rules
 *   slots      written by the datapath only; read by the views
 *   flows      flows on shared ports, in no order; written by the datapath only
 *   pool       what is free and shared: hints for the search, beside slots and flows
 *   eim        LAN endpoint -> position in slots; each hit is checked against the owner word
 *   flow_index LAN endpoint or slot, and remote -> position in flows
 *   permissions  remotes a port's owner has sent to, for filtering
 *   hosts      ports and flows of each LAN host
 *   fragments  fragmented datagrams -> what becomes of their fragments
 *   datagrams  buffers of those that have to be put together or cut; written by the datapath only
 *   fragment_work  what a program run knows of a fragment, for which its stack is too small
 *   shortcuts_46, shortcuts_64  connections that may pass the kernel by, in either direction
 *   shortcut_work  one that is being learnt, for which the stack is too small
 *   events     the log of mappings
 *   counters   per direction and reason; written by the datapath, read by the views
 *   scratch    a part of a packet, while one program run looks at it
 *   objects    the end of an ICMP error, while one program run moves it
 *   programs   tail calls; written by the loader, one map for each load
 *   instance   written once by the control plane
 */
#ifndef MAPXDP_MAPS_H
#define MAPXDP_MAPS_H

/* clang-format off */
#define MAPXDP_MAPS(X) \
	X(config, ARRAY, __u32, struct config_buffer, 1, 0) \
	X(rules, ARRAY, __u32, struct rule, RULES, 0) \
	X(rule_by_ipv4, ARRAY, __u32, struct tree_node, TREE_NODES, BPF_F_MMAPABLE) \
	X(rule_by_ipv6, ARRAY, __u32, struct tree_node, TREE_NODES, BPF_F_MMAPABLE) \
	X(rule_by_psid, HASH, struct psid_key, __u32, RULES, BPF_F_NO_PREALLOC) \
	X(slots, ARRAY, __u32, struct mapping, PROTOCOLS * SLOTS, BPF_F_MMAPABLE) \
	X(flows, ARRAY, __u32, struct mapping, FLOWS, BPF_F_MMAPABLE) \
	X(pool, ARRAY, __u32, struct pool, 1, 0) \
	X(eim, HASH, struct endpoint, __u64, EIM_ENTRIES, 0) \
	X(flow_index, HASH, struct flow_key, __u64, 2 * FLOWS, 0) \
	X(permissions, LRU_HASH, struct permission_key, __u64, PERMISSIONS, 0) \
	X(hosts, ARRAY, __u32, struct host, HOSTS, 0) \
	X(fragments, LRU_HASH, struct fragment_key, struct fragment_entry, FRAGMENT_ENTRIES, 0) \
	X(datagrams, ARRAY, __u32, struct datagram, DATAGRAMS, BPF_F_MMAPABLE) \
	X(fragment_work, PERCPU_ARRAY, __u32, struct fragment_work, 1, 0) \
	X(shortcuts_46, ARRAY, __u32, struct shortcut, SHORTCUTS, BPF_F_MMAPABLE) \
	X(shortcuts_64, ARRAY, __u32, struct shortcut, SHORTCUTS, BPF_F_MMAPABLE) \
	X(shortcut_work, PERCPU_ARRAY, __u32, struct shortcut, 1, 0) \
	X(events, RINGBUF, void, void, EVENT_BYTES, 0) \
	X(counters, PERCPU_ARRAY, __u32, struct counter, DIRECTIONS * (REASONS_MAX + 0), 0) \
	X(scratch, PERCPU_ARRAY, __u32, struct scratch, 1, 0) \
	X(objects, PERCPU_ARRAY, __u32, struct objects, 1, 0) \
	X(programs, PROG_ARRAY, __u32, __u32, PROGRAMS, 0) \
	X(instance, ARRAY, __u32, struct instance, 1, 0)
/* clang-format on */

#endif
