package main

import (
	"reflect"

	"vestibule/configs"
)

// changedKeys lists the keys whose values differ between two configurations,
// such as "admins" or "mas.upstream.url of example.com", in the order of the
// file format. Of a site that only one of them has, it lists nothing.
func changedKeys(old, now *configs.Config) []string {
	var keys []string
	differing("", reflect.ValueOf(*old), reflect.ValueOf(*now), func(key string) {
		if key != "sites" && key != "include" {
			keys = append(keys, key)
		}
	})
	for _, site := range now.Sites {
		before := old.Site(site.ServerName)
		if before == nil {
			continue
		}
		differing("", reflect.ValueOf(*before), reflect.ValueOf(*site), func(key string) {
			keys = append(keys, key+" of "+site.ServerName)
		})
	}
	return keys
}

// differing calls report with each key below path whose value is not the same in
// both structs.
func differing(path string, a, b reflect.Value, report func(key string)) {
	for i := range a.NumField() {
		tag := a.Type().Field(i).Tag.Get("yaml")
		if tag == "" || tag == "-" {
			continue
		}
		x, y := a.Field(i), b.Field(i)
		if x.Kind() == reflect.Pointer && !x.IsNil() && !y.IsNil() {
			x, y = x.Elem(), y.Elem()
		}
		switch {
		case x.Kind() == reflect.Struct && !isLeaf(x.Type()):
			differing(path+tag+".", x, y, report)
		case !same(x, y):
			report(path + tag)
		}
	}
}

// isLeaf tells a struct that is one value in the file.
func isLeaf(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("yaml") != "" {
			return false
		}
	}
	return true
}

// same compares two values of one type, wherever in a file they stand.
func same(a, b reflect.Value) bool {
	if a.Type() == reflect.TypeFor[configs.Place]() {
		return true
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return a.Elem().Type() == b.Elem().Type() && same(a.Elem(), b.Elem())
	case reflect.Slice:
		return sameItems(a, b)
	case reflect.Map:
		return sameFields(a, b)
	case reflect.Struct:
		if isLeaf(a.Type()) {
			return reflect.DeepEqual(a.Interface(), b.Interface())
		}
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return a.Interface() == b.Interface()
}

func sameItems(a, b reflect.Value) bool {
	if a.Len() != b.Len() {
		return false
	}
	for i := range a.Len() {
		if !same(a.Index(i), b.Index(i)) {
			return false
		}
	}
	return true
}

func sameFields(a, b reflect.Value) bool {
	if a.Len() != b.Len() {
		return false
	}
	for _, key := range a.MapKeys() {
		if !b.MapIndex(key).IsValid() || !same(a.MapIndex(key), b.MapIndex(key)) {
			return false
		}
	}
	return true
}
