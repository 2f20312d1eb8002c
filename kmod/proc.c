// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * proc.c - shows /proc/driver/nvidia as the broker describes it
 */
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "shim.h"

/* The directories below /proc/driver/nvidia: at most two for each name. */
struct proc_dirs {
	u32 n;
	struct {
		const char *name;
		size_t len;
		struct proc_dir_entry *entry;
	} dir[2 * ISO_MAX_TEXTS];
};

static int text_show(struct seq_file *m, void *v)
{
	const struct iso_text *text = m->private;

	seq_write(m, text + 1, le32_to_cpu(text->len));
	return 0;
}

/*
 * The directory that the first len bytes of name spell, parent_len of which
 * spell its parent; made if it is not there. NULL: it cannot be made.
 */
static struct proc_dir_entry *proc_dir(struct proc_dirs *dirs,
				       struct proc_dir_entry *parent,
				       const char *name, size_t len,
				       size_t parent_len)
{
	struct proc_dir_entry *entry;
	char last[ISO_TEXT_NAME_LEN];
	u32 i;

	for (i = 0; i < dirs->n; i++)
		if (dirs->dir[i].len == len &&
		    !memcmp(dirs->dir[i].name, name, len))
			return dirs->dir[i].entry;
	snprintf(last, sizeof(last), "%.*s", (int)(len - parent_len),
		 name + parent_len);
	entry = proc_mkdir(last, parent);
	if (entry) {
		dirs->dir[dirs->n].name = name;
		dirs->dir[dirs->n].len = len;
		dirs->dir[dirs->n].entry = entry;
		dirs->n++;
	}
	return entry;
}

/* Makes the file of a text, with the directories above it. */
static void text_add(struct shim *shim, struct proc_dirs *dirs,
		     struct iso_text *text)
{
	struct proc_dir_entry *parent = shim->proc;
	const char *slash;
	size_t start = 0;

	while (parent && (slash = strchr(text->name + start, '/'))) {
		size_t len = slash - text->name;

		parent = proc_dir(dirs, parent, text->name, len, start);
		start = len + 1;
	}
	if (parent)
		proc_create_single_data(text->name + start, 0444, parent,
					text_show, text);
}

void shim_proc_exit(struct shim *shim)
{
	if (shim->proc)
		proc_remove(shim->proc);	/* waits for its readers */
	shim->proc = NULL;
	kvfree(shim->proc_texts);
	shim->proc_texts = NULL;
	shim->proc_len = 0;
}

void shim_proc_update(struct shim *shim, const struct shim_hello *hello)
{
	struct proc_dirs *dirs;
	size_t off = 0;

	if (shim->proc && shim->proc_len == hello->texts_len &&
	    !memcmp(shim->proc_texts, hello->texts, shim->proc_len))
		return;
	shim_proc_exit(shim);
	dirs = kvzalloc(sizeof(*dirs), GFP_KERNEL);
	shim->proc_texts = kvmalloc(hello->texts_len, GFP_KERNEL);
	if (dirs && shim->proc_texts) {
		memcpy(shim->proc_texts, hello->texts, hello->texts_len);
		shim->proc = proc_mkdir("driver/nvidia", NULL);
	}
	if (!shim->proc) {
		pr_shim(KERN_WARNING, "cannot fill /proc/driver/nvidia\n");
		goto out;
	}
	shim->proc_len = hello->texts_len;
	while (off < shim->proc_len) {
		struct iso_text *text = shim->proc_texts + off;

		text_add(shim, dirs, text);
		off += sizeof(*text) + ISO_PAD8(le32_to_cpu(text->len));
	}
out:
	kvfree(dirs);
}
