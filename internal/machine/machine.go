// Package machine identifies the machine that this process runs on.
package machine

import (
	"io/fs"
	"strings"
)

// ID identifies the running kernel, alike in all its containers, by its boot id or else the host's name, read below root; "": unknown.
func ID(root fs.FS) string {
	for _, name := range []string{"random/boot_id", "hostname"} {
		if text, err := fs.ReadFile(root, "proc/sys/kernel/"+name); err == nil && len(text) > 0 {
			return strings.TrimSpace(string(text))
		}
	}
	return ""
}
