/* SPDX-License-Identifier: MIT */
/* policy.c - decides which calls of a worker reach the driver */
#include "broker/child/policy.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "broker/child/call.h"
#include "broker/child/file.h"

void policy_init(struct policy *p, const struct abi *abi,
		 uint32_t max_clients, struct metrics *metrics,
		 struct log_limit *log)
{
	*p = (struct policy){ .abi = abi, .max_clients = max_clients,
			      .metrics = metrics, .log = log,
			      .pid = (uint32_t)getpid() };
}

void policy_free(struct policy *p)
{
	free(p->client);
	p->client = NULL;
	p->n_clients = 0;
}

/* nvos.h: the parameters are a message from which RM makes the struct of the
 * table. Nothing here can read such a message. */
#define NVOS54_FLAGS_FINN_SERIALIZED 0x4
#define NVOS64_FLAGS_FINN_SERIALIZED 0x1

/* ---- the worker's RM clients -------------------------------------------- */

/* Finds where the handle is, or belongs, in the table. */
static uint32_t client_slot(const struct policy *p, uint32_t handle)
{
	uint32_t lo = 0, hi = p->n_clients;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (p->client[mid].handle < handle)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static const struct rm_client *client_find(const struct policy *p,
					   uint32_t handle)
{
	uint32_t i = client_slot(p, handle);

	if (i == p->n_clients || p->client[i].handle != handle)
		return NULL;
	return &p->client[i];
}

/* Enters an RM client. If there is no memory for it, nobody may use it. */
static void client_add(struct policy *p, uint32_t handle,
		       const struct file *file)
{
	uint32_t i = client_slot(p, handle);
	struct rm_client *c;

	if (i < p->n_clients && p->client[i].handle == handle) {
		p->client[i].file = file;
		return;
	}
	c = realloc(p->client, (p->n_clients + 1) * sizeof(*c));
	if (!c)
		return;
	p->client = c;
	memmove(c + i + 1, c + i, (p->n_clients - i) * sizeof(*c));
	c[i] = (struct rm_client){ .handle = handle, .file = file };
	p->n_clients++;
}

/* Takes an RM client out, if it is still that file's: before the end of an RM
 * client was seen here, the driver may have given its number to a new one. */
static void client_del(struct policy *p, uint32_t handle,
		       const struct file *file)
{
	uint32_t i = client_slot(p, handle);

	if (i == p->n_clients || p->client[i].handle != handle ||
	    p->client[i].file != file)
		return;
	p->n_clients--;
	memmove(p->client + i, p->client + i + 1,
		(p->n_clients - i) * sizeof(*p->client));
}

void policy_close(struct policy *p, const struct file *file)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->n_clients; i++)
		if (p->client[i].file != file)
			p->client[n++] = p->client[i];
	p->n_clients = n;
}

/* ---- judging ------------------------------------------------------------ */

/* Logs a refusal, the first time that the worker asks for it. */
static void say_once(struct policy *p, const char *what, uint32_t nr,
		     const struct abi_row *row)
{
	uint64_t key = (uint64_t)(unsigned char)what[0] << 32 | nr;

	for (uint32_t i = 0; i < p->n_named; i++)
		if (p->named[i] == key)
			return;
	if (p->n_named == POLICY_NAMED)
		return;
	p->named[p->n_named++] = key;
	if (log_limit_ok(p->log))
		log_info("refused %s 0x%x %s", what, nr,
			 row ? row->name : "(unknown)");
}

static bool refuse(struct call *call, uint32_t status, uint64_t *counter)
{
	(*counter)++;
	call_status(call, status);
	return false;
}

/* The pointer of this row that leads to the parameters of a control or class,
 * and in *ret_buf the buffer that it names; NULL if there is none. */
static const struct abi_ptr *params_ptr(const struct abi_row *row,
					uint8_t *ret_buf)
{
	uint8_t b = 1;

	for (unsigned int i = 0; i < row->n_ptrs; i++) {
		const struct abi_ptr *ptr = &row->ptrs[i];

		if (ptr->rule == ABI_LEN_CONTROL ||
		    ptr->rule == ABI_LEN_CLASS) {
			*ret_buf = b;
			return ptr;
		}
		if (call_ptr_told(ptr))
			b++;
	}
	return NULL;
}

static bool is_root_class(const struct abi_row *class)
{
	return class && (class->id == ABI_R_NV01_ROOT ||
			 class->id == ABI_R_NV01_ROOT_NON_PRIV ||
			 class->id == ABI_R_NV01_ROOT_CLIENT);
}

/* Whether the call asks for a new RM client. */
static bool makes_client(const struct policy *p, const struct call *call)
{
	uint8_t b;
	const struct abi_ptr *ptr = params_ptr(call->row, &b);

	return ptr && ptr->rule == ABI_LEN_CLASS &&
	       is_root_class(abi_class(p->abi,
				       (uint32_t)call_peek(call, 0,
							   ptr->sel_off, 4)));
}

/*
 * Judges one handle of an RM client. own: it is the caller's own, and the
 * driver itself checks that it goes with the open file. Any other must be of
 * the same process in the worker: the driver cannot check that, for it takes
 * all of a worker's processes to be this child.
 */
static bool client_ok(struct policy *p, struct call *call, uint32_t handle,
		      bool own)
{
	const struct rm_client *c = client_find(p, handle);
	uint32_t status = NV_ERR_INVALID_CLIENT;

	if (c && (own || c->file->tgid == call->file->tgid))
		return true;
	if (c)
		status = NV_ERR_INSUFFICIENT_PERMISSIONS;
	return refuse(call, status, &p->metrics->refused_clients);
}

/* Judges the handles of RM clients in the argument. */
static bool clients_ok(struct policy *p, struct call *call)
{
	const struct abi_row *row = call->row;

	for (unsigned int i = 0; i < row->n_clients; i++) {
		uint32_t h = (uint32_t)call_peek(call, 0, row->clients[i], 4);
		bool own = i == 0 && row->kind == ABI_ESCAPE;

		/* Zero names no RM client, which is wrong only for the caller's
		 * own. */
		if (h == 0 && !own)
			continue;
		/* This RM client is yet to be made. The handle is 0 or the
		 * worker's choice, which the driver refuses if it is taken. */
		if (own && makes_client(p, call))
			continue;
		if (!client_ok(p, call, h, own))
			return false;
	}
	return true;
}

/* Judges the handles of RM clients in the parameters of a control or class. */
static bool params_clients_ok(struct policy *p, struct call *call)
{
	for (unsigned int i = 0; i < call->sub->n_clients; i++) {
		uint32_t h = (uint32_t)call_peek(call, call->sub_buf,
						 call->sub->clients[i], 4);

		if (h && !client_ok(p, call, h, false))
			return false;
	}
	return true;
}

static uint32_t params_get(const struct call *call, enum abi_f field,
			   uint32_t i)
{
	const struct call_buf *params = &call->buf[call->sub_buf];

	return (uint32_t)abi_get(call->sub, field, i, params->p, params->len);
}

/* How many elements the parameters say that the array has, at most those that
 * it can have. */
static uint32_t params_count(const struct call *call, enum abi_f count,
			     enum abi_f array)
{
	const struct abi_field *field = abi_field(call->sub, array);

	return field ? MIN(params_get(call, count, 0), field->count) : 0;
}

/* Whether the call asks about no process but this child, for any other may be
 * another worker's. */
static bool pids_ok(const struct policy *p, const struct call *call)
{
	uint32_t n;

	if (call->sub->id != ABI_R_NV2080_CTRL_CMD_GPU_GET_PID_INFO)
		return true;
	n = params_count(call, ABI_F_pidInfoListCount, ABI_F_pidInfoList_pid);
	for (uint32_t i = 0; i < n; i++)
		if (params_get(call, ABI_F_pidInfoList_pid, i) != p->pid)
			return false;
	return true;
}

/* Reads the flags from the argument, which is what the driver will see. */
static bool has_flag(const struct call *call, uint32_t flag)
{
	const struct call_buf *arg = &call->buf[0];

	return abi_get(call->row, ABI_F_flags, 0, arg->p, arg->len) & flag;
}

/* Judges the control that the argument names, and sets call->sub to its row. */
static bool control_ok(struct policy *p, struct call *call,
		       const struct abi_ptr *ptr, uint32_t caps)
{
	uint32_t cmd = (uint32_t)call_peek(call, 0, ptr->sel_off, 4);
	const struct abi_row *row = abi_control(p->abi, cmd);
	const struct call_buf *params = &call->buf[call->sub_buf];

	if (!abi_allowed(row, caps) ||
	    has_flag(call, NVOS54_FLAGS_FINN_SERIALIZED)) {
		say_once(p, "control", cmd, row);
		return refuse(call, NV_ERR_NOT_SUPPORTED,
			      &p->metrics->refused_controls);
	}
	/* RM checks the size as well (control.c). It has to be right before the
	 * pointers in the parameters are looked for. */
	if (!params->null &&
	    !abi_size_ok(row, (uint32_t)call_peek(call, 0, ptr->count_off, 4)))
		return refuse(call, NV_ERR_INVALID_ARGUMENT,
			      &p->metrics->refused_controls);
	call->sub = row;
	if (!pids_ok(p, call))
		return refuse(call, NV_ERR_INSUFFICIENT_PERMISSIONS,
			      &p->metrics->refused_controls);
	return true;
}

/* Judges the class that the argument wants an object of, and sets call->sub to
 * its row. */
static bool class_ok(struct policy *p, struct call *call,
		     const struct abi_ptr *ptr, uint32_t caps)
{
	uint32_t class = (uint32_t)call_peek(call, 0, ptr->sel_off, 4);
	const struct abi_row *row = abi_class(p->abi, class);

	if (!abi_allowed(row, caps) ||
	    has_flag(call, NVOS64_FLAGS_FINN_SERIALIZED)) {
		say_once(p, "allocation of class", class, row);
		return refuse(call, NV_ERR_INVALID_CLASS,
			      &p->metrics->refused_classes);
	}
	if (is_root_class(row) &&
	    p->n_clients + p->pending >= p->max_clients)
		return refuse(call, NV_ERR_INSUFFICIENT_RESOURCES,
			      &p->metrics->refused_quota);
	call->sub = row;
	return true;
}

bool policy_check(struct policy *p, struct call *call, uint32_t caps)
{
	const struct abi_ptr *ptr;

	if (!abi_allowed(call->row, caps)) {
		call->err = EINVAL; /* as from nvidia.ko and nvidia-uvm.ko */
		p->metrics->refused_ioctls++;
		say_once(p, "ioctl", call->nr, call->row);
		return false;
	}
	if (!clients_ok(p, call))
		return false;
	ptr = params_ptr(call->row, &call->sub_buf);
	if (!ptr)
		return true;
	if (ptr->rule == ABI_LEN_CONTROL ? !control_ok(p, call, ptr, caps) :
					   !class_ok(p, call, ptr, caps))
		return false;
	return params_clients_ok(p, call);
}

void policy_filter(const struct policy *p, struct call *call)
{
	const struct abi_row *row = call->sub;
	struct call_buf *params = &call->buf[call->sub_buf];
	uint32_t n, kept = 0;

	if (!row || row->id != ABI_R_NV2080_CTRL_CMD_GPU_GET_PIDS)
		return;
	n = params_count(call, ABI_F_pidTblCount, ABI_F_pidTbl);
	for (uint32_t i = 0; i < n; i++) {
		kept += params_get(call, ABI_F_pidTbl, i) == p->pid;
		abi_put(row, ABI_F_pidTbl, i, params->p, params->len, 0);
	}
	for (uint32_t i = 0; i < kept; i++)
		abi_put(row, ABI_F_pidTbl, i, params->p, params->len, p->pid);
	abi_put(row, ABI_F_pidTblCount, 0, params->p, params->len, kept);
}

/* ---- which RM clients there are ----------------------------------------- */

void policy_begin(struct policy *p, struct call *call)
{
	call->began = true;
	if (makes_client(p, call))
		p->pending++;
}

void policy_end(struct policy *p, struct call *call)
{
	const struct call_buf *arg = &call->buf[0];
	uint32_t handle;

	if (!call->began)
		return;
	call->began = false;
	if (makes_client(p, call))
		p->pending--;
	if (call->err || !call->ran ||
	    abi_get(call->row, ABI_F_status, 0, arg->p, arg->len) != NV_OK)
		return;
	if (makes_client(p, call) && !call->file->closed) {
		handle = (uint32_t)abi_get(call->row, ABI_F_hObjectNew, 0,
					   arg->p, arg->len);
		client_add(p, handle, call->file);
	} else if (call->row->id == ABI_R_NV_ESC_RM_FREE) {
		handle = (uint32_t)abi_get(call->row, ABI_F_hObjectOld, 0,
					   arg->p, arg->len);
		client_del(p, handle, call->file);
	}
}
