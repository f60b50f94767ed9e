/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Included by bcc; nothing of it is used. */
