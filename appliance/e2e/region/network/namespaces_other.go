//go:build !linux

package network

import "fmt"

// Namespaces are Linux's.
func Namespaces() (Network, error) { return nil, fmt.Errorf("%w: no network namespaces", ErrCannot) }
