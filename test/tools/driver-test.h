/* SPDX-License-Identifier: MIT */
/* driver-test.h - arguments of SYS_PARAMS, 8 bytes each, for which
 * gpu-broker-test's driver does something of its own */
#ifndef ISO_DRIVER_TEST_H
#define ISO_DRIVER_TEST_H

#define DRIVER_TEST_BLOCK 0x626c6f636b000001u	/* waits for a RELEASE */
#define DRIVER_TEST_RELEASE 0x626c6f636b000002u	/* lets every BLOCK go */
#define DRIVER_TEST_CRASH 0x626c6f636b000003u	/* ends the child */

#endif /* ISO_DRIVER_TEST_H */
