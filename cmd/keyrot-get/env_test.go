package main

import (
	"testing"

	"github.com/keyrot/keyrot/test/cleanenv"
)

func TestMain(m *testing.M) {
	cleanenv.Clear()
	m.Run()
}
