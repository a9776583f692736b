package data

import (
	"fmt"
	"os"
	"path/filepath"
)

// readFolder lists the images below a folder; they are read when they are decoded.
func readFolder(root string) (*tree, error) {
	t := &tree{}
	entries, err := list(root)
	if err != nil {
		return nil, err
	}
	top := ""
	for _, e := range entries {
		t.found = append(t.found, e.name)
		if e.dir && isSplit(e.name) {
			top = root
		}
	}
	if top == "" {
		for _, e := range entries {
			below := filepath.Join(root, e.name)
			if info, err := os.Stat(filepath.Join(below, trainFolder)); !e.dir || err != nil || !info.IsDir() {
				continue
			}
			if top != "" {
				return nil, severalTops(filepath.Base(top), e.name)
			}
			top = below
		}
		if top == "" {
			return t, nil // load says what is missing
		}
		if entries, err = list(top); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		if e.dir && isSplit(e.name) {
			if err := t.readSplit(e.name, filepath.Join(top, e.name)); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func (t *tree) readSplit(split, folder string) error {
	t.class(split, "")
	classes, err := list(folder)
	if err != nil {
		return err
	}
	for _, c := range classes {
		if !c.dir {
			continue
		}
		t.class(split, c.name)
		images, err := list(filepath.Join(folder, c.name))
		if err != nil {
			return err
		}
		for _, i := range images {
			name := filepath.Join(folder, c.name, i.name)
			if i.dir {
				return tooDeep(name)
			}
			t.add(split, c.name, file{name: name})
		}
	}
	return nil
}

func severalTops(a, b string) error {
	return fmt.Errorf("train/ lies in %s and in %s, expected it in one folder: set data.path to the one that is meant, or remove the other", a, b)
}

// entry is a file or folder, or a link to one.
type entry struct {
	name string
	dir  bool
}

// list returns what a folder holds, sorted, without hidden names.
func list(folder string) (entries []entry, err error) {
	found, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("%w; expected a folder that can be read: correct data.path or the folder's permissions", err)
	}
	for _, e := range found {
		if hidden(e.Name()) {
			continue
		}
		is := e.IsDir()
		if e.Type()&os.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(folder, e.Name()))
			if err != nil {
				return nil, fmt.Errorf("%w; a link that leads nowhere, expected an image or a folder: mend the link or remove it", err)
			}
			is = info.IsDir()
		}
		entries = append(entries, entry{e.Name(), is})
	}
	return entries, nil
}
