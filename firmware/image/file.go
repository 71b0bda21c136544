package image

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// File is a file or a directory of a file system that is written. Directories above
// it need not be named.
type File struct {
	Path string // from the root, without a slash before it
	Data []byte
	Dir  bool
	Exec bool // may be run; FAT does not know of it
}

// node is a file system's tree, while it is written.
type node struct {
	File
	name     string
	children []*node // sorted by name
}

// tree makes one of files, whatever their order.
func tree(files []File) (*node, error) {
	root := &node{File: File{Dir: true}}
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." {
			return nil, fmt.Errorf("%w: %q is no path of a file", ErrSpec, f.Path)
		}
		dir, err := root.dir(path.Dir(f.Path))
		if err != nil {
			return nil, err
		}
		name := path.Base(f.Path)
		i, found := dir.find(name)
		switch {
		case !found:
			dir.children = slices.Insert(dir.children, i, &node{File: f, name: name})
		case !f.Dir || !dir.children[i].Dir:
			return nil, fmt.Errorf("%w: there are two of %q", ErrSpec, f.Path)
		}
	}
	return root, nil
}

// dir finds a directory below n, or makes it.
func (n *node) dir(name string) (*node, error) {
	if name == "." {
		return n, nil
	}
	for word := range strings.SplitSeq(name, "/") {
		i, found := n.find(word)
		if !found {
			n.children = slices.Insert(n.children, i, &node{File: File{Dir: true}, name: word})
		}
		if n = n.children[i]; !n.Dir {
			return nil, fmt.Errorf("%w: %q of %q is a file", ErrSpec, word, name)
		}
	}
	return n, nil
}

func (n *node) find(name string) (int, bool) {
	return slices.BinarySearchFunc(n.children, name, func(c *node, name string) int { return strings.Compare(c.name, name) })
}

// walk visits n and all below it, those above before those below.
func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, c := range n.children {
		c.walk(visit)
	}
}
