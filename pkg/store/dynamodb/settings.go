package dynamodb

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// Setting implements [rotate.Settings].
func (s *Store) Setting(ctx context.Context, name string) ([]byte, int64, error) {
	return s.setting(ctx, name, true)
}

func (s *Store) setting(ctx context.Context, name string, consistent bool) ([]byte, int64, error) {
	doing := fmt.Sprintf("reading setting %q", name)
	it, err := s.read(ctx, kindSetting, name, consistent)
	if err == nil && it == nil {
		err = rotate.ErrNotFound
	}
	if err != nil {
		return nil, 0, explain(doing, s.Table, err)
	}
	value, err := content.OpenSetting(ctx, s.Sealer, name, it.bytes(attrSealed))
	if err != nil {
		return nil, 0, explain(doing, s.Table, err)
	}
	return value, it.number(attrVersion), nil
}

// Loosely are the same settings, read at half the price: what was saved within
// the last second may be missing, so that a save may have to be repeated. One
// that is not there at all is looked for again.
func (s *Store) Loosely() rotate.Settings { return loose{s} }

type loose struct{ *Store }

// Setting implements [rotate.Settings].
func (s loose) Setting(ctx context.Context, name string) ([]byte, int64, error) {
	value, version, err := s.setting(ctx, name, false)
	if errors.Is(err, rotate.ErrNotFound) {
		return s.setting(ctx, name, true)
	}
	return value, version, err
}

// SaveSetting implements [rotate.Settings].
func (s *Store) SaveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error) {
	v, err := s.saveSetting(ctx, name, value, version)
	if err != nil {
		return 0, explain(fmt.Sprintf("saving setting %q", name), s.Table, err)
	}
	return v, nil
}

func (s *Store) saveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error) {
	if value == nil {
		return 0, s.erase(ctx, kindSetting, name, version)
	}
	sealed, err := content.SealSetting(ctx, s.Sealer, name, value)
	if err != nil {
		return 0, err
	}
	it := key(kindSetting, name)
	it[attrSealed] = blob(sealed)
	return s.write(ctx, it, version)
}

// SettingNames implements [rotate.Settings]. It does not need the key.
func (s *Store) SettingNames(ctx context.Context, prefix string) ([]string, error) {
	var out []string
	in := ofKind(kindSetting, attrPK, attrSK)
	if prefix != "" {
		in.KeyConditionExpression = aws.String("#pk = :kind AND begins_with(#sk, :prefix)")
		in.ExpressionAttributeValues[":prefix"] = text(prefix)
	}
	err := s.query(ctx, in, func(it item) (bool, error) {
		out = append(out, it.text(attrSK))
		return true, nil
	})
	if err != nil {
		return nil, explain("listing settings", s.Table, err)
	}
	return out, nil
}
