package auth_test

import (
	"context"
	"errors"
	"sort"
	"strings"
	"sync"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// settings is an in-memory Settings that counts reads and can fail.
type settings struct {
	mu       sync.Mutex
	values   map[string][]byte
	versions map[string]int64
	reads    int
	fail     error
	lost     error // of saves that took effect
}

func newSettings() *settings {
	return &settings{values: map[string][]byte{}, versions: map[string]int64{}}
}

func (s *settings) Setting(_ context.Context, name string) ([]byte, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.HasPrefix(name, "apikey-used/") {
		s.reads++
	}
	if s.fail != nil {
		return nil, 0, s.fail
	}
	v, ok := s.values[name]
	if !ok {
		return nil, 0, rotate.ErrNotFound
	}
	return append([]byte(nil), v...), s.versions[name], nil
}

func (s *settings) SaveSetting(_ context.Context, name string, value []byte, version int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	if s.versions[name] != version {
		return 0, rotate.ErrConflict
	}
	s.values[name] = append([]byte(nil), value...)
	s.versions[name]++
	return s.versions[name], s.lost
}

func (s *settings) SettingNames(_ context.Context, prefix string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	var names []string
	for n := range s.values {
		if strings.HasPrefix(n, prefix) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return names, nil
}

func (s *settings) breakWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *settings) readCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// racingSettings lets another writer win between a read and the write.
type racingSettings struct {
	*settings
	name string
}

func (r *racingSettings) Setting(ctx context.Context, name string) ([]byte, int64, error) {
	v, version, err := r.settings.Setting(ctx, name)
	if name == r.name && err == nil {
		_, err = r.SaveSetting(ctx, name, v, version)
	}
	return v, version, err
}

// lateSettings runs before once, just before the first write.
type lateSettings struct {
	*settings
	before func()
}

func (l *lateSettings) SaveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error) {
	if f := l.before; f != nil {
		l.before = nil
		f()
	}
	return l.settings.SaveSetting(ctx, name, value, version)
}

// unwritable is a full disk: what is there can be read.
type unwritable struct{ *settings }

func (unwritable) SaveSetting(context.Context, string, []byte, int64) (int64, error) {
	return 0, errors.New("no space left on device")
}
