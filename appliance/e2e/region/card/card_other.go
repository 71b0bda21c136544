//go:build !linux

// Package card needs Linux.
package card

import "errors"

// Card cannot be made here.
type Card struct{ Dir string }

var errNone = errors.New("cards need Linux")

// New fails.
func New(string, int64) (*Card, error) { return nil, errNone }

// NewOn fails.
func NewOn(string, string, int64) (*Card, error) { return nil, errNone }

// Cut fails.
func (c *Card) Cut() error { return errNone }

// Restore fails.
func (c *Card) Restore() error { return errNone }

// Close fails.
func (c *Card) Close() error { return errNone }
