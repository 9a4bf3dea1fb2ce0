#!/usr/bin/env python3
"""Records what small pieces of template give under jinja2 as transformers sets it up.

    record_snippets.py OUT.json

Each row is [source, output], with null where Python raises. What Python prints with an address in
it, and integers past 64 bits, are left out. Needs transformers and jinja2."""
import json
import os
import re
import sys
import time
from datetime import datetime as real_datetime

os.environ["TZ"] = "UTC"
time.tzset()
import transformers.utils.chat_template_utils as utils  # noqa: E402

NOW = 1753000000


class FixedDatetime(real_datetime):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.fromtimestamp(NOW)


utils.datetime = FixedDatetime

VARIABLES = {
    "none_": None, "yes": True, "no": False, "i": 7, "neg": -7, "f": 2.5, "big": 1e20, "tiny": 1.5e-7,
    "s": "Hello, Wörld", "empty": "", "sp": "  x y \n", "html": "<b>&'\"", "num": " 42 ",
    "l": [3, 1, 2], "ls": ["b", "A", "c"], "le": [], "mixed": [1, "a", None, 2.0, True, [1], {"k": 1}],
    "d": {"b": 1, "a": [1, 2], "C": None, "items": "shadow"}, "de": {},
    "users": [{"name": "Zoe", "age": 30, "tag": {"x": 1}}, {"name": "adam", "age": 25},
              {"name": "Bob", "age": 30, "tag": {"x": 2}}],
    "tree": [{"n": 1, "c": [{"n": 2, "c": [{"n": 3, "c": []}]}, {"n": 4, "c": []}]}, {"n": 5, "c": []}],
    "emoji": "a🦊é", "lines": "one\ntwo\r\nthree\n\nfive", "fmt": "%s=%d",
    "messages": [{"role": "system", "content": "sys"}, {"role": "user", "content": "hi"},
                 {"role": "assistant", "content": "yo", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}],
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2, -7 // 2, 7 // -2, 7 % 3, -7 % 3, 7 % -3
7.5 // 2, -7.5 // 2, 7.5 % 2, -7.5 % 2, 7.5 % -2
2 ** 10, 2 ** -1, 2 ** 0.5, -2 ** 2, (-2) ** 2, 2 ** 3 ** 2
1 / 3, 2 / 1, 1e3, 1.0, 1e16, 1e15, 1e-4, 1e-5, 123456789.123, 0.1 + 0.2, -0.0
1_000, 0x1f, 0b101, 0o17, 1_0.5_0, 1e+2, 1E2
5 / 0
5 // 0
5 % 0
5.0 % 0
yes + 1, yes * 3, -yes, +no, yes + yes, yes / 2
1 + 'a'
'a' + 1
'a' + none_
'a' ~ 1 ~ none_ ~ yes ~ missing ~ 2.0 ~ [1]
'ab' * 3, 3 * 'ab', 'ab' * -1, [1] * 2, 2 * (1, 2)
[1] + [2], (1,) + (2,)
[1] + (2,)
'a' - 'b'
{} + {}
1 < 2 < 3, 1 < 3 < 2, 1 == 1.0, 1 == yes, 'a' < 'b', [1, 2] < [1, 3], (1,) < (1, 2)
1 < 'a'
none_ < 1
[1] < ['a']
1 != 2 != 1
'a' in 'abc', 'd' in 'abc', '' in 'abc', 1 in [1, 2], 3 not in l, 'a' in d, 'z' not in d, 1 in (1,)
1 in 'abc'
1 in 5
none_ in 'abc'
missing in [1], missing in 'abc'
'x' in missing
not yes, not not yes, not 0, not '', not [], not {}, not none_, not missing
1 and 2, 0 and 2, 1 or 2, 0 or 2, '' or 'x', none_ or [] or 'z', 1 and 0 or 3
not 1 == 2, (not 1) == 2
yes if no else 'other', 'a' if yes, 'a' if no
('a' if no) is defined
('a' if no) + 'b'
1 if yes else 2 if no else 3
-i, +i, - i, --i, -f
-'a'
+none_
l[0], l[-1], l[5], l[-5], l['0'], l[yes]
l[1:], l[:1], l[::-1], l[-2:], l[::2], l[5:], l[:-1], l[2:0:-1], l[none_:2]
s[1], s[-1], s[99], s[:5], s[7:], s[::-1], s[::2], s[-3:], s[::-2]
emoji[0], emoji[1], emoji[2], emoji[::-1], emoji[1:2], emoji|length
l[::0]
l['a':]
none_[1:]
d[1:]
i[0]
(1, 2, 3)[1:], (1, 2, 3)[::-1], range(10)[2:8:2], range(5)[-1], range(3)[7]
d.a, d['a'], d.b, d.zzz, d['zzz'], d.C, d.items, d['items'], d.a[0], d.a.0, d.keys() | list
d.items()|list
d.zzz.y
d['zzz']['y']
missing.x
missing['x']
none_.x, none_['x'], i.x, i['x'], f.zz, s.zz, l.zz
none_.x.y
d.get('a'), d.get('q'), d.get('q', 5), d.get('C', 5), de.get('x')
d.get()
d.get([])
d[[]], d[{}]
{[]: 1}
{'a': 1, 'b': [1, {'c': none}]}, {1: 'x', none: 2, 1.5: 3, (1, 2): 4, true: 5}
{'a': 1, 'a': 2}, {1: 'a', 1.0: 'b', true: 'c'}, {'a': 1}['a'], {1: 2}[1.0], {1: 2}[true]
[], (), {}, [1,], (1,), (1, 2), [[], [()]], [1, 'a', "it's", 'say "x"', 'both \' and "']
none, None, true, True, false, False
'\n\t\\\'\"\x41\u00e9\101\q', 'a' 'b' "c", 'line\
joined'
[ '\x00\x1f\x7f\x80\xa0\xad\u200b\u2028\ue000\U0001f98a' ]
['é', '\t', '\r', '\n', '\\']
"\é\🦊"
'\xe9'|length, "\u00e9" == 'é'
1.5|string ~ 'x', 1e20, 1.5e300, 1.5e-300, 12345678901234567890.0, 5e-324
[1.0, 2.50, 1e100, -0.0, 100000.0, 1234567.891]
s.upper(), s.lower(), s.title(), s.capitalize(), s.swapcase(), 'ß'.upper(), 'ǆ'.title(), 'İ'.lower(), 'ΑΣ ΣΑΣ'.lower(), 'ﬁ'.upper(), 'ŉ'.upper()
"they're bill's".title(), "they're bill's"|title, 'foo-bar (baz) [x] {y} <z>'|title, 'HELLO wORLD'|capitalize, 'HELLO'|title
'a1b2 3c'.title(), "x'y"|title, 'ÉCOLE école'.capitalize()
sp.strip(), [sp.lstrip()], [sp.rstrip()], 'xxaxx'.strip('x'), 'xyaxy'.lstrip('xy'), 'xyaxy'.rstrip('yx'), 'é a é'.strip('é'), 'abc'.strip(''), ' a '.strip(none)
'a'.strip(1)
'a,b,,c'.split(','), 'a,b,c'.split(',', 1), ' a  b c '.split(), ' a  b c '.split(none, 1), ''.split(), ''.split(','), 'abc'.split('abc'), 'a b'.split(maxsplit=1), 'a-b-c'.split(sep='-', maxsplit=1)
'a,b,c'.rsplit(',', 1), ' a  b c '.rsplit(none, 1), ' a b '.rsplit(), 'a--b--c'.rsplit('--'), 'aXbXc'.rsplit('X', 0), ' x y '.rsplit(none, 0), ' x y '.split(none, 0)
'a'.split('')
'a'.split(1)
lines.splitlines(), lines.splitlines(true), 'a\x0bb\x0cc\x1cd\x85e\u2028f'.splitlines(), ''.splitlines(), '\n'.splitlines(), 'a\r\n\r\nb\r'.splitlines(keepends=true)
'abc'.startswith('a'), 'abc'.startswith(('x', 'a')), 'abc'.endswith('bc'), 'abc'.startswith('b', 1), 'abc'.endswith('b', 0, 2), 'abc'.startswith(''), 'abc'.startswith('', 5), 'abc'.endswith(())
'abc'.startswith(['a'])
'abc'.startswith(1)
'banana'.replace('a', 'o'), 'banana'.replace('a', 'o', 2), 'banana'.replace('', '-'), 'banana'.replace('na', ''), 'ab'.replace('', 'x', 2), ''.replace('', 'x'), 'abc'.replace('z', 'y', 0)
'banana'.replace('a')
'banana'.replace(1, 2)
'banana'.find('na'), 'banana'.rfind('na'), 'banana'.find('x'), 'banana'.index('n'), 'banana'.count('a'), 'banana'.count('a', 2), 'banana'.count(''), 'bäna'.find('n'), 'banana'.find('a', 2, 4), 'banana'.find('', 6), 'banana'.find('', 7), 'banana'.rfind('')
'banana'.index('x')
'banana'.rindex('a')
'-'.join(['a', 'b']), ''.join([]), ', '.join('abc'), '-'.join(d)
'-'.join([1])
'-'.join(missing)
'abc'.center(9, '*'), 'abc'.center(8), 'ab'.center(7, '.'), 'abc'.ljust(5, '.'), 'abc'.rjust(5), 'abc'.center(2), 'abcd'.center(7, '-')
'abc'.center(5, 'xy')
'42'.zfill(5), '-42'.zfill(5), '+1'.zfill(4), ''.zfill(2), 'abc'.zfill(2)
'abc'.removeprefix('a'), 'abc'.removesuffix('c'), 'abc'.removeprefix('x')
'a=b=c'.partition('='), 'a=b=c'.rpartition('='), 'abc'.partition('='), 'abc'.rpartition('=')
'a\tb'.expandtabs(), 'ab\tc\n\td'.expandtabs(4)
'abc'.isalpha(), 'ab1'.isalpha(), ''.isalpha(), '12'.isdigit(), '²'.isdigit(), '²'.isdecimal(), '½'.isnumeric(), 'a1'.isalnum(), ' \n'.isspace(), 'abc'.islower(), 'ABC'.isupper(), 'Abc Def'.istitle(), 'ab_1'.isidentifier(), '1a'.isidentifier(), 'é'.isascii(), 'a\n'.isprintable(), ''.isascii(), 'A1'.isupper(), '1'.isupper(), 'éa'.isalpha(), '一'.isnumeric()
'abc'.upper, 1
'{} {}'.format(1, 'a'), '{0} {1} {0}'.format('x', 'y'), '{a}-{b}'.format(a=1, b=2), '{{}}'.format(), '{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c'), '{:*^7}'.format('x'), '{:05d}'.format(42), '{:+d} {:,} {:_}'.format(1, 1234567, 1234567)
'{:.2f} {:8.3f} {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.256), '{:x} {:#x} {:b} {:o} {:X}'.format(255, 255, 5, 8, 255), '{:.3}'.format('abcdef'), '{:10.2}|'.format('abcdef'), '{!r} {!s}'.format('a', 'b'), '{:<08}|{:08}'.format(-5, -5)
'{0[0]} {0[1]} {1[k]} {1.b}'.format([1, 2], {'k': 'v'}), '{d[a]}'.format(d=d), '{:{w}}|'.format('x', w=4), '{:{}}|'.format('x', 3)
'{} {}'.format(1)
'{a}'.format(1)
'{'.format(1)
'}'.format(1)
'{:d}'.format('a')
'{:>5}'.format(none_)
'{}{1}'.format(1, 2)
'{} {} {}'.format(none_, missing, [1]), '{:5}|{:5}|{:5}'.format(1, 'a', true), '{:.0f} {:.1f}'.format(0.5, 0.25), '{:g} {:g} {:.3g} {:}'.format(1e10, 100000.0, 1234.5, 1e16), '{:,.2f}'.format(1234567.891), '{:010.2f}'.format(-3.14159), '{:.3} {:.10}'.format(3.0, 2.5), '{:c}'.format(65)
'%s and %r' % ('a', 'b'), '%d %i' % (3, 4.7), '%5d|%-5d|%05d|%+d' % (1, 2, 3, 4), '%.2f %e %g' % (3.14159, 12345.678, 0.0001), '%x %X %o %#x' % (255, 255, 8, 255), '%c%c' % ('a', 66), '%%' % (), '%5s|%-5s|%.2s' % ('a', 'b', 'cde')
'%(a)s %(b)d' % {'a': 1, 'b': 2}, '%s' % 5, '%s' % [1], '%s' % none_, '%s' % missing, '%*d' % (5, 42), '%5.1f' % 2.25, '%03d' % -5, '% d' % 5, '%.3d' % 5, '%s' % 'x', '%s' % (('t', 1),)
'%d' % 'a'
'%s %s' % 'a'
'%s' % (1, 2)
'x' % 1
'x' % [1]
'%q' % 1
'%' % 1
'%(a)s' % 1
'%d' % missing
"%d%%" % 12.9, "%5%|" % ()
i is odd, i is even, i is divisibleby 7, i is divisibleby(3), neg is odd, 4 is even, 2.0 is even
'a' is odd
none_ is defined, missing is defined, missing is undefined, none_ is none, missing is none, i is number, f is float, i is integer, yes is integer, yes is number, yes is boolean, f is number, 's' is number
s is string, l is string, d is mapping, l is mapping, l is sequence, s is sequence, d is sequence, i is sequence, l is iterable, s is iterable, i is iterable, none_ is iterable, missing is iterable, missing is sequence, missing is callable, range(3) is sequence, range is callable, s is callable, s.upper is callable
yes is true, no is false, 1 is true, 0 is false, yes is not true, none_ is not none, 'A' is upper, 'a' is lower, 'Ab' is upper, 1 is lower, '' is upper
1 is sameas 1, none_ is sameas none, yes is sameas true, l is sameas l, l is sameas [3, 1, 2], [] is sameas []
i is eq 7, i is equalto(7), i is ne 8, i is lt 8, i is gt 6, i is ge 7, i is le 7, i is lessthan 8, i is greaterthan 6, i is == 7
1 is in [1, 2], 3 is in [1], 'a' is in 'abc', 'upper' is filter, 'nope' is filter, 'odd' is test, 'nope' is test, ('a'|e) is escaped, 'a' is escaped
i is not odd and yes, not i is odd, i is odd or no, i is divisibleby 2 or yes
i is foo
i|foo
i is odd is true
missing is foo.bar
l|sort, ls|sort, ls|sort(case_sensitive=true), l|sort(reverse=true), l|sort(true), users|sort(attribute='age')|map(attribute='name')|list, users|sort(attribute='age,name')|map(attribute='name')|list, ''|sort, 'bca'|sort, d|sort, le|sort
mixed|sort
[none, none]|sort, [1, true, 0.5]|sort, [[2], [1, 5], [1]]|sort, ['é', 'e', 'z', 'Z']|sort
[none, 1]|sort
users|sort(attribute='tag.x')
l|min, l|max, ls|min, ls|max, ls|max(case_sensitive=true), le|min, le|max is defined, users|max(attribute='age'), users|min(attribute='name')
l|sum, le|sum, users|sum(attribute='age'), [1.5, 2]|sum, l|sum(start=10), [[1], [2]]|sum(start=[])
ls|sum
l|first, l|last, le|first, le|first is defined, le|last is defined, 'abc'|first, 'abc'|last, ''|first is defined, d|first, d|last, range(5)|last, (1, 2)|last
i|first
(l|map('string'))|last
l|join, l|join(', '), l|join('-', attribute='x'), users|join(', ', attribute='name'), 'abc'|join('.'), le|join(','), mixed|join('|'), d|join(','), l|join(1), missing|join('x')
i|join
l|length, s|length, d|length, le|count, emoji|length, missing|length, range(7)|length
i|length
none_|length
(l|map('string'))|length
l|list, s|list, d|list, missing|list, (1, 2)|list, range(3)|list, d.values()|list
i|list
none_|list
l|reverse|list, 'abc'|reverse, d|reverse|list, (1, 2)|reverse|list, (l|map('string')|reverse), missing|reverse|list, emoji|reverse
i|reverse
l|map('string')|list, ls|map('upper')|join, users|map(attribute='name')|list, users|map(attribute='tag.x')|list, users|map(attribute='zzz', default='q')|list, users|map(attribute='tag', default='n')|list, l|map('default', 5)|list, [[1, 2], [3, 4]]|map(attribute=1)|list, [[1, 2], [3]]|map('join', '-')|list, missing|map('upper')|list, ['a b', 'c']|map('replace', 'a', 'z')|list
users|map(attribute='tag.x.y')|list
l|map('nope')|list
le|map('nope')|list
l|map|list
l|map(foo='x')|list
i|map('upper')|list
l|map('upper') is iterable, l|map('upper') is sequence, l|map('upper') is defined, (le|map('upper')) and 'truthy', le|select|first is defined
l|select('odd')|list, l|reject('odd')|list, [0, 1, '', 'a', none]|select|list, [0, 1, '', 'a', none]|reject|list, l|select('gt', 1)|list, l|select('in', [1, 2])|list, missing|select|list, l|select('divisibleby', 3)|list
users|selectattr('tag')|map(attribute='name')|list, users|rejectattr('tag')|map(attribute='name')|list, users|selectattr('age', 'equalto', 30)|list|length, users|selectattr('age', '>', 26)|map(attribute='name')|join(','), users|selectattr('tag', 'defined')|list|length, users|rejectattr('age', 'eq', 30)|map(attribute='name')|list, messages|selectattr('role', 'equalto', 'system')|map(attribute='content')|first, users|selectattr('tag.x', 'eq', 2)|list
users|selectattr|list
l|select('nope')|list
users|selectattr('age', 'nope')|list
l|unique|list, ['a', 'A', 'b']|unique|list, ['a', 'A']|unique(true)|list, [1, 1.0, true, 2]|unique|list, users|unique(attribute='age')|map(attribute='name')|list, [none, none]|unique|list
[[1], [1]]|unique|list
d|items|list, de|items|list, missing|items|list, {'a': 1}|items|list
none_|items|list
l|items|list
d|dictsort, de|dictsort, {'b': 1, 'A': 2}|dictsort, {'b': 1, 'A': 2}|dictsort(true), {'b': 1, 'a': 2}|dictsort(by='value'), {'b': 1, 'a': 2}|dictsort(false, 'key', true), {'x': 'b', 'y': 'A'}|dictsort(by='value')
d|dictsort(by='foo')
{1: 1, 'a': 2}|dictsort
l|dictsort
l|batch(2)|list, l|batch(2, 'x')|list, range(7)|batch(3)|list, le|batch(2)|list, l|batch(5, 0)|list
range(10)|slice(3)|list, range(10)|slice(3, 'x')|list, l|slice(5)|list, l|slice(2, none)|list
l|slice(0)|list
users|groupby('age')|list, users|groupby('age')|map('first')|list, users|groupby('name')|map(attribute='grouper')|list, users|groupby('tag', default={})|length
[{'k': 'a'}, {'k': 'A'}, {'k': 'b'}]|groupby('k')|list, [{'k': 'a'}, {'k': 'A'}]|groupby('k', case_sensitive=true)|list, [{'k': 'a'}, {}]|groupby('k', default='')|list
d|tojson, l|tojson, mixed|tojson, s|tojson, html|tojson, none_|tojson, yes|tojson, 1.0|tojson, big|tojson, tiny|tojson, emoji|tojson, (1, 2)|tojson, {1: 2, none: 3, true: 4, 1.5: 5}|tojson
d|tojson(indent=2), d|tojson(indent=4), l|tojson(indent=0), de|tojson(indent=2), {'a': {}, 'b': []}|tojson(indent=2), d|tojson(indent='--')
d|tojson(sort_keys=true), {'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=true, indent=1), d|tojson(separators=(',', ':')), l|tojson(separators=(';', '=')), emoji|tojson(ensure_ascii=true), '\x7f\x80\x1f\u2028é'|tojson, '\x7f\x80\x1f\u2028é'|tojson(true), d|tojson(none, 1), {'a': [1]}|tojson(indent=1, separators=(',', ': '))
missing|tojson
[missing]|tojson
(l|map('string'))|tojson
{(1, 2): 3}|tojson
d|tojson(indent=2, foo=1)
{1: 2, 'a': 3}|tojson(sort_keys=true)
'a\nb\tc\\d"e\r\b\f'|tojson, '</script>'|tojson
namespace(a=1)|tojson
range(3)|tojson
d.items()|tojson
missing|default('x'), none_|default('x'), empty|default('x'), empty|default('x', true), no|default('x', boolean=true), missing|d, missing|d('y'), d.zzz|default('q'), missing|default, 0|default(5, true), none_|default('n', true)
'42'|int, ' 42 '|int, '4.9'|int, 'x'|int, 'x'|int(7), 4.9|int, -4.9|int, yes|int, none_|int, none_|int(3), '0x1f'|int(0, 16), '1f'|int(0, 16), '101'|int(base=2), '1_000'|int, ''|int, '1e3'|int, 'inf'|int, '٣'|int, [1]|int, '0b11'|int(base=0), '-5'|int, '+5'|int, '- 5'|int, '5-'|int
missing|int
'3.14'|float, 'x'|float, 'x'|float(1.5), 3|float, yes|float, none_|float, ' 1e3 '|float, 'nan'|float, '-inf'|float, '1_0.5'|float, '.5'|float, '5.'|float, '1__0'|float, '0x10'|float, ''|float
missing|float
-5|abs, neg|abs, -2.5|abs, yes|abs
'a'|abs
missing|abs
2.5|round, 3.5|round, 2.675|round(2), 2.5|round(0), 1234.567|round(-2), 42|round, 42.55|round(1, 'floor'), 42.51|round(1, 'ceil'), 42|round(0, 'ceil'), 1250|round(-2), 1350|round(-2), -2.5|round, 0.5|round, 1.0|round, 1e300|round(2), 5|round(-1), 15|round(-1), 2.5|round(method='ceil'), 42.1|round(0, 'floor')
'a'|round
2.5|round(1, 'foo')
s|upper, s|lower, s|capitalize, s|title, 5|upper, none_|upper, missing|upper, [1]|upper, 5|capitalize, true|lower
sp|trim, 'xxaxx'|trim('x'), 5|trim, none_|trim, missing|trim, '\u3000a\xa0'|trim
'banana'|replace('a', 'o'), 'banana'|replace('a', 'o', 1), 5|replace(5, 6), 'a'|replace('a', none), missing|replace('', 'x')
'banana'|replace('a')
5|string, none_|string, missing|string, [1, 'a']|string, 1.0|string, yes|string, d|string
'foo'|center(9), 'foo'|center(8) ~ '|', 5|center(5), 'x'|center|length
lines|indent, lines|indent(2), lines|indent(2, true), lines|indent(2, false, true), lines|indent('> '), ''|indent, 'a\n'|indent, 'a\n\nb'|indent(1, true, true), 'one'|indent(width=2, first=true)
5|indent
none_|indent
missing|indent
'foo bar baz'|truncate(9), 'foo bar baz'|truncate(9, leeway=0), 'foo bar baz'|truncate(9, true, leeway=0), 'foo bar baz qux'|truncate(9, false, '…', 0), 'foobarbazquxxx'|truncate(5, leeway=0), 'short'|truncate
'foo'|truncate(2)
'foo bar, baz!'|wordcount, ''|wordcount, 'a_b c-d é'|wordcount, 5|wordcount
'%s %s'|format('a', 'b'), '%(x)s'|format(x=1), 'plain'|format, '%d'|format(3)
'%s'|format('a', x=1)
'%s'|format
html|e, html|escape, html|escape|escape, html|safe, (html|safe)|e, html|forceescape, (html|e)|forceescape, 5|e, none_|e, missing|e, [1, '<']|e
('<b>'|e)|list, ('<b>'|safe)|last, i|string.upper(), 'a'|upper.lower, (html|e) + '<', '<' + (html|e), (html|e) ~ '<', ('<'|safe) * 2, ('<b>'|safe).upper(), ('%s'|safe) % '<', ('{}'|safe).format('<'), ('<'|safe) + '<', ('-'|safe).join(['<', '>']), [('<'|safe)], ('a<b'|safe).replace('a', '<'), ('<a>'|e)|upper, ('<'|safe)[0] + '<'
'<p>Hello &amp; <b>you</b> &lt;</p> <!-- c > -->x'|striptags, 'a < b'|striptags, '<a'|striptags, ' a   b '|striptags
'a b&c/d?é'|urlencode, {'a b': 'c&d', 'e': 1}|urlencode, [('x', 'y z')]|urlencode, 5|urlencode
{'a': 1, 'b': none, 'c': '<"'}|xmlattr, {'a': 1}|xmlattr(false), {}|xmlattr
{'a b': 1}|xmlattr
1|filesizeformat, 0|filesizeformat, 999|filesizeformat, 1000|filesizeformat, 1500000|filesizeformat, 1024|filesizeformat(true), 1048576|filesizeformat(binary=true), '1e10'|filesizeformat, 2500.5|filesizeformat
l|attr('zz') is defined, d|attr('a') is defined, s|attr('upper')(), d|attr('keys')()|list
range(5), range(2, 5), range(0, 10, 3), range(5, 0, -2), range(0), range(3)|list, range(5) == range(0, 5), range(0) == range(1, 1), 3 in range(5), range(3).start
range(0, 5, 0)
range()
range('a')
range(1.0)
range(100001)|length
range(100000)|length
dict(a=1, b=2), dict([('a', 1), (1, 2)]), dict({'x': 1}, y=2), dict()
dict(1)
dict([1])
namespace(a=1).a, namespace().b, namespace({'x': 1}).x, namespace(a=1)['a'], namespace(a=1)
namespace(_a=1)
cycler('a', 'b').next(), cycler(1).current
cycler()
joiner()
raise_exception('boom')
raise_exception()
strftime_now('%Y-%m-%d'), strftime_now('%d %b %Y'), strftime_now('%H:%M:%S %A %B %j %U %p %I %y %-d %f %%'), strftime_now('%Z|%z|'), strftime_now('')
strftime_now()
strftime_now(1)
s.foo()
none_()
missing()
i()
'a'()
l.append(1)
l.append
l.append is defined, l.pop is defined, d.update is defined, d.pop is callable
d.update({'x': 1})
d.pop('a')
l.sort()
d.copy(), l.copy(), l.index(1), l.count(3), (1, 2, 1).count(1), (1, 2).index(2), d.keys(), d.values(), de.items()
l.index(9)
s.__class__, s.__len__ is defined, s._private is defined
s.__class__.__mro__
l.__class__()
2.5.is_integer(), (2.0).is_integer(), (5).bit_length(), f.is_integer(), i.real, i.numerator, f.real
d.keys() == {'b': 1, 'a': 2, 'C': 3, 'items': 4}.keys(), 'a' in d.keys(), 1 in d.values(), ('b', 1) in d.items(), d.keys()|length, d.items()|first
d.keys()[0] is defined
users[0].name, users[0]['name'], users.0.name, users[-1].age, users[0].tag.x, users[1].tag is defined
messages[-1].tool_calls[0].function.arguments|tojson, messages[0]['role'] == 'system', messages[1:]|length, messages|length - 1, messages[::-1][0].role, (messages|last).role, messages[0].content.split()[0]
(1, 2) == (1, 2), [1] == (1,), {'a': 1} == {'a': 1.0}, [1, [2]] == [1, [2]], 'a' == 'a', none == none, missing == missing, missing == none, missing == missing2, 1 == '1'
l == [3, 1, 2], d == d, users[0] == users[0], {'a': 1, 'b': 2} == {'b': 2, 'a': 1}
(l|list)[0], ('a,b'|string).split(',')[1], [1, 2][0], {'a': [1]}.a[0], 'abc'[1], (1, 2)[0], "x".upper()
loop is defined, caller is defined, range is defined, namespace is defined, varargs is defined
not missing.x
missing or 'x', missing and 'x', missing|default('a') ~ 'b', [missing], {'a': missing}, (missing,)
missing + 1
missing ~ 1
missing < 1
-missing
missing * 2
missing % 2
1 + missing
'%s' ~ missing
[1, 2][missing] is defined, d[missing] is defined
'abc'[missing:]
yes is defined and yes is true, (yes) is true, i == 7 and f == 2.5, i > 5 < 10
1 if, 2
'a' 'b'|upper
'a'|upper ~ 'b'|upper, 1 + 2|string|length, -1|abs, (-1)|abs, 2 * 3|string
i.__add__(1)
[x for x in l]
lambda x: x
l[0, 1] is defined, d[(1, 2)] is defined
{'a': 1}.items()|list|first|last
{**d}
f(*l)
dict(**{'a': 1}), range(*[1, 4])|list, '{}-{}'.format(*['a', 'b']), '{x}'.format(**{'x': 1})
range(**{'a': 1})
dict(a=1, a=2)
dict(*[1], **2)
dict(a=1, 2)
'a' if yes else raise_exception('no'), yes or raise_exception('no')
'foo'|upper|lower|title|reverse
'x'|default(missing) ~ 'y', missing|default(missing) is defined
" ".join(["a"]) + "b" if yes else "c"
'abc' > 'abd', 'Z' < 'a', 'é' > 'z', '' < 'a', 'abc' >= 'abc', [] < [1], 1.5 > 1, true > false, 1 <= 1.0
1.0 == 1 == true, 9007199254740993 == 9007199254740992.0, 9007199254740993 > 9007199254740992.0
9223372036854775807, -9223372036854775807 - 1, 4611686018427387904 + 4611686018427387903
10 // 3.0, 10 % 3.5, 1e308 * 10, -1e308 * 10, (1e308 * 10) - (1e308 * 10)
0.1, 1/3, 100.0/3, 1e22, 1e21, 123456789012345678.0, 0.00001, 0.0001, 1e-10, 3.0e8
1;2
a b
1 +
(1
[1, 2
{'a' 1}
'unclosed
|upper
1 is
1 | 
x.
x[
x[]
l[]
""".strip("\n").replace("line\\\njoined", "line\\\\njoined").split("\n")

STATEMENTS = [
    "a\n{% if yes %}\nb\n{% endif %}\nc\n", "  {% if yes %}x{% endif %}  \n  y", "a {%- if yes -%} b {%- endif -%} c",
    "a {{- 1 -}} b", "  {{ 1 }}\n  {{- 2 }}", "{%+ if yes %}  a{% endif %}", "  {%+ if yes %}a{% endif %}",
    "{% if yes +%}\nx{% endif +%}\ny", "a\n  {# c #}\nb", "a {#- c -#} b", "a\n{# c #}\n\nb", "{# a\nb #}\n{{ 1 }}", "{#- x +#}\ny",
    "\n\n{% set x = 1 %}\n\n{{ x }}\n\n", "x\n\n", "x\r\ny\rz\n", "", "\n", "{{ 'a\r\nb' }}", "   {% set x = 1 %}   z",
    "{% raw %}{{ x }}{% if %}{% endraw %}", "{%- raw -%} a {%- endraw -%} b", "  {% raw %}\n  x\n  {% endraw %}\n y", "{% raw %}a", "{# open", "{% raw %}{% endraw", 
    "{{ 1 }", "{{ 1 %}", "{% if yes }}", "{% endif %}", "{% if yes %}", "{% foo %}", "{% %}", "{{ }}", "{{}}", "{%if yes%}a{%endif%}", "{{'}}'}}", "{{ '%}' }}", "{{ {'a': {'b': 1}} }}", "{{ {} }}", "{{ {'a':1}}}",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}", "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1,1,2,2,1] %}{{ loop.changed(x) }} {% endfor %}", "{% for x in l %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}", "{% for x in l %}{{ loop }}{% endfor %}",
    "{% for x in le %}x{% else %}none{% endfor %}", "{% for x in l %}{{ x }}{% else %}none{% endfor %}", "{% for x in missing %}x{% else %}none{% endfor %}", "{% for x in none_ %}x{% endfor %}", "{% for x in i %}x{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}", "{% for x in l if x > 5 %}a{% else %}b{% endfor %}", "{% for x in l if loop.index > 1 %}{{ x }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}{{ loop.last }}{% endfor %}", "{% for a, b in [[1, 2], (3, 4), 'xy'] %}{{ a }}-{{ b }};{% endfor %}",
    "{% for a, b in [[1]] %}{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, in [[1], [2]] %}{{ a }}{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% break %}", "{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for x in l %}{% continue %}{% else %}else{% endfor %}", "{% for x in l %}{% break %}{% else %}else{% endfor %}", "{% for x in l %}{{ x }}{% if loop.last %}{% break %}{% endif %}{% else %}else{% endfor %}", "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% for x in l %}{% set z %}a{% break %}b{% endset %}{% endfor %}c", "{% for x in l %}{% filter upper %}a{% continue %}b{% endfilter %}{% endfor %}c", "{% for x in l %}{% with y = x %}{% if y == 1 %}{% continue %}{% endif %}{{ y }}{% endwith %}{% endfor %}",
    "{% for n in tree recursive %}{{ n.n }}[{{ loop(n.c) }}]{% endfor %}", "{% for n in tree recursive %}{{ loop.depth }}{{ n.n }}{% if n.c %}({{ loop(n.c) }}){% endif %}{% endfor %}", "{% for x in l %}{{ loop(l) }}{% endfor %}", "{% for n in tree recursive %}{{ n.n }}{{ loop(n.c) }}{% else %}-{% endfor %}", "{% set q = 5 %}{% for n in tree recursive %}{{ n.n }}{{ q }}{% set q = n.n %}{{ q }}{{ loop(n.c) }}{{ q }}{% endfor %}{{ q }}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "{% for i in l %}{% set x = (x or 0) + i %}{{ x }} {% endfor %}", "{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}", "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}", "{% if no %}{% set x = 2 %}{% endif %}{{ x }}|{{ x is defined }}", "{% if no %}{% set s = 2 %}{% endif %}{{ s }}", "{% for q in l %}{% if q == 1 %}{% set s = q %}{% endif %}{{ s }},{% endfor %}{{ s }}", "{% if no %}{% set s = 1 %}{% elif no %}{% set s = 2 %}{% else %}{% endif %}{{ s }}", "{{ s }}{% set s = 5 %}{{ s }}",
    "{% set s = s + '!' %}{{ s }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = [1] %}", "{% set (a, b) = 'xy' %}{{ a }}{{ b }}", "{% set a = b = 1 %}", "{% set x %}text {{ i }}{% endset %}[{{ x }}]", "{% set x | upper %}text{% endset %}{{ x }}", "{% set x | replace('t', i) | title %}text{% endset %}{{ x }}", "{% set ns = namespace() %}{% set ns.x %}abc{% endset %}{{ ns.x }}", "{% set d.x = 1 %}", "{% set missing.x = 1 %}", "{% set x.y = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set ns = namespace(a=1) %}{% set ns.a, b = 5, 6 %}{{ ns.a }}{{ b }}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a + ns.b }}{{ ns }}", "{% set true = 1 %}", "{% set 1 = 2 %}", "{% set x[0] = 2 %}", "{% set x = 1, %}{{ x }}", "{% set x = (1) %}{{ x }}", "{% set loop = 1 %}{{ loop }}", "{% for x in l %}{% set loop = 1 %}{% endfor %}", "{% for loop in l %}{% endfor %}", "{% set none = 1 %}", "{% set _x = 1 %}{{ _x }}",
    "{% if 1 %}a{% elif 2 %}b{% else %}c{% endif %}", "{% if 0 %}a{% elif 2 %}b{% else %}c{% endif %}", "{% if 0 %}a{% elif 0 %}b{% elif 1 %}d{% else %}c{% endif %}", "{% if missing %}a{% endif %}", "{% if le %}a{% else %}b{% endif %}", "{% if not le and yes %}a{% endif %}", "{% if 1: %}a{% endif: %}", "{% if yes: %}a{% endif %}", "{% if 'x' is foo %}{% endif %}", "{% if no %}{{ 1|foo }}{% endif %}ok", "{% if no %}{% for x in l %}{{ 1|foo }}{% endfor %}{% endif %}ok", "{{ 1|foo if no else 2 }}", "{{ 1|foo if yes else 2 }}", "{% if no %}{{ 1 is foo }}{% endif %}ok", "{% if 1, 2 %}t{% endif %}", "{% if () %}t{% else %}f{% endif %}", "{% if i == 7 and s %}x{% endif %}",
    "{% macro m(a, b=2, *c) %}{% endmacro %}", "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=4, a=5) }}{{ m() }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(1) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m() %}x{% endmacro %}{{ m(1) }}", "{% macro m() %}x{% endmacro %}{{ m(a=1) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a=b, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}", "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}", "{% macro m() %}{{ zz }}{% endmacro %}{{ m() }}{% set zz = 5 %}{{ m() }}", "{% macro m() %}{{ s }}{% endmacro %}{{ m() }}{% set s = 5 %}{{ m() }}", "{% macro m() %}{% set s = 'in' %}{{ s }}{% endmacro %}{{ m() }}{{ s }}", "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% for x in l %}{{ m(x) }}{% endfor %}{% macro m(a) %}{{ a }}{% endmacro %}", "{{ m() }}{% macro m() %}x{% endmacro %}", "{% if yes %}{% macro m() %}x{% endmacro %}{% endif %}{{ m() }}", "{% for x in l %}{% macro mm() %}{{ x }}{% endmacro %}{% endfor %}{{ mm() }}", "{% set ns = namespace() %}{% for x in l %}{% macro mm() %}<{{ x }}>{% endmacro %}{% set ns.f = mm %}{{ mm() }}{% endfor %}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}body {{ i }}{% endcall %}", "{% macro m() %}[{{ caller('x') }}]{% endmacro %}{% call(a) m() %}<{{ a }}>{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m(caller) %}{{ caller() }}{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m(caller=none) %}{{ caller() if caller else 'no' }}{% endmacro %}{% call m() %}y{% endcall %}{{ m() }}", "{% macro m() %}{{ caller is defined }}{% if caller %}{{ caller() }}{% endif %}{% endmacro %}{{ m() }}{% call m() %}z{% endcall %}", "{% call range(3) %}x{% endcall %}", "{% call 5 %}x{% endcall %}", "{% macro m() %}{% for x in l %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(v, w=9) m() %}{{ v }}{{ w }};{% endcall %}", "{% macro a() %}A{{ caller() }}{% endmacro %}{% macro b() %}B{{ caller() }}{% endmacro %}{% call a() %}{% call b() %}x{% endcall %}{% endcall %}",
    "{% macro m(a, b) %}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.catch_varargs }}{{ m.caller }}{{ m }}", "{% macro m() %}x{% endmacro %}{{ m is callable }}{{ m() is string }}{{ m()|upper }}", "{% macro m(x) %}{{ x|join(',') }}{% endmacro %}{{ m(l) ~ m([1]) }}", "{% macro m(a, a) %}{% endmacro %}", "{% macro true() %}{% endmacro %}", "{% macro m(x) -%}  {{ x }}  {%- endmacro %}[{{ m(1) }}]", "{% macro m(kwargs) %}{{ kwargs }}{% endmacro %}{{ m(1) }}", "{% macro m(x, varargs=3) %}{{ varargs }}{% endmacro %}{{ m(1) }}", "{% macro m() %}{{ kwargs.items()|list }}{% endmacro %}{{ m(b=1, a=2) }}", "{% macro outer() %}{% macro inner(x) %}<{{ x }}>{% endmacro %}{{ inner(1) }}{{ inner(2) }}{% endmacro %}{{ outer() }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b') | title %}abc{% endfilter %}", "{% filter trim %}  x  {% endfilter %}y", "{% filter foo %}x{% endfilter %}", "{% filter indent(2, true) %}a\nb{% endfilter %}", "{% set z = 'q' %}{% filter replace('a', z) %}abca{% endfilter %}", "{% for x in l %}{% filter replace('a', x) %}a{% endfilter %}{% endfor %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with a, b = [1, 2] %}{{ a }}{% endwith %}", "{% with s = s ~ '!' %}{{ s }}{% endwith %}{{ s }}", "{% with a = 1 %}{% set s = a %}{{ s }}{% endwith %}{{ s }}", "{% with a = 1 b = 2 %}{% endwith %}",
    "{% generation %}x{{ i }}{% endgeneration %}", "{% for x in l %}{% generation %}{{ x }}{% set y = 3 %}{% endgeneration %}{{ y }}{% endfor %}", "a\n{% generation %}\nx\n{% endgeneration %}\nb", "{%- generation -%} x {%- endgeneration -%} y", "{% generation %}", "{% for x in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% generation x %}{% endgeneration %}", "{% set t = 1 %}{% generation %}{% set t = 2 %}{{ t }}{% endgeneration %}{{ t }}",
    "{% print 1, 'a' %}", "{% print i %}", "{% include 'x' %}", "{% if no %}{% include 'x' %}{% endif %}a", "{% extends 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.next() }}", "{% set j = joiner() %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j.sep }}", "{% set g = l|map('string') %}{{ g|list }}{{ g|list }}", "{% set g = l|select('gt', 1) %}{% for x in g %}{{ x }}{{ loop.last }}{% endfor %}{{ g|list }}", "{% for x in l|map('string') %}{{ loop.length }}{{ loop.revindex }}{{ x }} {% endfor %}", "{% for x in l|map('string') %}{{ x }}{{ loop.length if loop.index == 2 }}{{ loop.nextitem }} {% endfor %}", "{% set g = l|map('nope') %}ok", "{% set g = l|reverse %}{{ g|first }}{{ g|list }}", "{% set r = d|items %}{% for k, v in r %}{{ k }}{% endfor %}{{ r|list }}", "{% for a in l|batch(2) %}{{ a }}{{ loop.length }}{% endfor %}", "{% set g = l|map('string') %}{{ '3' in g }}{{ g|list }}", "{% set g = l|unique %}{{ g|first }}{{ g|first }}{{ g|list }}",
    "{% for x in l %}{{ loop.foo is defined }}{% endfor %}", "{% for x in l %}{{ loop._iterator is defined }}{% endfor %}", "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}", "{% for x in l %}{% set outer = loop %}{% for y in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}", "{{ loop }}", "{{ loop.index }}", "{% for x in l %}{{ loop|length }}{{ loop['index'] }}{% endfor %}", "{% for x in l %}{{ loop.cycle() }}{% endfor %}", "{% for i in range(3) %}{{ i }}{% endfor %}{{ i }}", "{% for s in 'héy' %}{{ s }}.{% endfor %}", "{% for x in [1, 2, 3][1:] %}{{ x }}{% endfor %}", "{% for x in l + [9] %}{{ x }}{% endfor %}", "{% for x in l if x is odd %}{{ x }}{% endfor %}", "{% for x in (1, 2) %}{{ x }}{% endfor %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x in l recursive if x %}{% endfor %}", "{% for x in %}{% endfor %}", "{% for x l %}{% endfor %}", "{% for x.y in l %}{% endfor %}", "{% for x in l %}", "{% for 1 in l %}{% endfor %}", "{% for x in l if yes else le %}{{ x }}{% endfor %}", "{% for x in (l if no else le) %}{{ x }}{% else %}e{% endfor %}", "{% for x in l %}{% else %}{{ x }}{% endfor %}", "{% set x = 9 %}{% for x in l if x != 1 %}{{ x }}{% endfor %}{{ x }}", "{% for x in l if x in ns %}{% endfor %}", "{% set k = 2 %}{% for x in l if x == k %}{{ x }}{% set k = 3 %}{% endfor %}", "{% for k, v in users[0].items() if v is not mapping %}{{ k }}={{ v }} {% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}U:{{ m.content }}{% elif m['role'] == 'assistant' %}A:{{ m.content }}{% if m.tool_calls is defined %}{% for t in m.tool_calls %}{{ t.function.name }}({{ t.function.arguments | tojson }}){% endfor %}{% endif %}{% endif %}{{ '\\n' if not loop.last }}{% endfor %}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}{{ system }}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{{ loop.index0 }}{{ m.content|trim }}{% endfor %}",
    "{%- set ns = namespace(found=false) -%}{%- for m in messages[::-1] -%}{%- if m.role == 'user' and not ns.found -%}{%- set ns.found = true -%}{{ m.content }}{%- endif -%}{%- endfor -%}", "{{ messages | map(attribute='role') | list | tojson }}", "{{ messages | selectattr('tool_calls', 'defined') | list | length }}", "{% set tool_calls = messages[-1].tool_calls or [] %}{% if tool_calls|length > 0 %}{{ tool_calls[0]['function']['name'] }}{% endif %}",
    "{%- macro render(x, depth=0) -%}{%- if x is mapping -%}{{ '{' }}{%- for k, v in x.items() -%}{{ k }}: {{ render(v, depth + 1) }}{{ ', ' if not loop.last }}{%- endfor -%}{{ '}' }}{%- elif x is iterable and x is not string -%}[{%- for y in x -%}{{ render(y, depth + 1) }}{{ ',' if not loop.last }}{%- endfor -%}]{%- else -%}{{ x }}{{ depth }}{%- endif -%}{%- endmacro -%}{{ render(d) }}{{ render(users) }}{{ render(mixed) }}",
    "{% macro json_to_python_type(t) %}{% set m = {'string': 'str', 'number': 'float'} %}{% if m[t.type] is defined %}{{ m[t.type] }}{% elif t.type == 'array' %}list[{{ json_to_python_type(t['items']) }}]{% elif t.type is iterable and t.type is not string %}{% set ns = namespace(r=[]) %}{% for x in t.type %}{% set ns.r = ns.r + [json_to_python_type({'type': x})] %}{% endfor %}Union[{{ ns.r | join(',') }}]{% else %}Any{% endif %}{% endmacro %}{{ json_to_python_type({'type': 'array', 'items': {'type': 'string'}}) }} {{ json_to_python_type({'type': ['string', 'number', 'x']}) }}",
    "{{ '<|start|>' ~ messages[1]['role'] ~ '\n' ~ messages[1].content | trim ~ '<|end|>' }}", "{{ bos_token }}x", "{{ bos_token + 'x' }}", "{%- if tools is defined and tools is not none %}t{% else %}n{% endif %}", "{% if not tools %}none{% endif %}", "{% set content = messages[1].content if messages[1].content is string else '' %}{{ content }}", "{% set today = strftime_now('%Y') if strftime_now is defined else 'x' %}{{ today }}",
    "{{- 'a' }}\n{{- 'b' -}}\n\n c", "{% set x = [] %}{% set _ = x.append(1) %}", "{% set _ = d.update({'q': 1}) %}", "{{ d.setdefault('q', 1) }}", "{{ (s, i) }}", "{{ s, }}", "{{ 1, 2 }}", "{{ () }}", "{{ [1, 2]|tojson }} {{ [1, 2] }}", "{{ html }}", "{{ 1 }}{{ '' }}{{ none }}{{ true }}{{ missing }}",
    "line1\n    {%- if yes %}\n  a\n    {%- else %}\n  b\n    {%- endif %}\nend", "{% if yes %}a\n{% endif %}\n\n{% if yes %}b{% endif %}", "   {{ 1 }}   {% if yes %}   x   {% endif %}   ", "\t{% if yes %}\tx\n\t{% endif %}\ty", "a{# c #}\nb", "a{# c -#}\n b", "{{ 1 -}}\n\n{#- c #}\n x", "x {%- set a = 1 %}\n y", "{%- set a = 1 -%}\n\n y", "{{+ 1 }}", "{{ 1 +}}", "{{ -1 }}{{- -1 }}{{-1}}", "{%- if yes -%}\n a \n{%- endif %}\n b", "\u00a0{%- if yes %}x{% endif -%}\u3000y", " \u00a0 {% if yes %}x{% endif %}",
    "{% for x in l -%}\n  {{ x }}\n{%- endfor %}", "{% for x in l %}\n  {{ x }}\n{% endfor %}\n", "{% macro m() %}\n a\n{% endmacro %}\n[{{ m() }}]", "{% set x %}\n  a\n{% endset %}\n[{{ x }}]",
    "{{ ns }}{% set ns = namespace(a=1, b='x') %}{{ ns }}{{ ns.c is defined }}{{ ns.a }}", "{% set ns = namespace(x=1) %}{% macro m() %}{% set ns.x = ns.x + 1 %}{{ ns.x }}{% endmacro %}{{ m() }}{{ m() }}{{ ns.x }}", "{% set x = namespace %}{{ x(a=2).a }}", "{% set f = 'x'.upper %}{{ f() }}", "{% set f = range %}{{ f(3)|list }}", "{% set raise_exception = 1 %}{{ raise_exception }}", "{% set range = 5 %}{{ range }}", "{% for range in l %}{{ range }}{% endfor %}{{ range(2)|list }}",
    "{% set x = 5 %}{% macro m(x) %}{{ x }}{% endmacro %}{{ m() }}{{ m(2) }}{{ x }}", "{% macro m(x=s) %}{{ x }}{% endmacro %}{% set s = 'later' %}{{ m() }}", "{% macro m() %}{{ s }}{% if no %}{% set s = 1 %}{% endif %}{{ s }}{% endmacro %}{{ m() }}", "{% for x in l %}{% if loop.first %}{% set t = 'first' %}{% endif %}{{ t }},{% endfor %}", "{% set t = 0 %}{% for x in l %}{% if x > 1 %}{% set t = x %}{% endif %}{{ t }}{% endfor %}{{ t }}", "{% for x in l %}{% set y = x %}{% for z in [1] %}{% set y = y * 10 %}{{ y }}{% endfor %}{{ y }};{% endfor %}", "{% with %}{% for x in l %}{% set q = x %}{% endfor %}{{ q }}{% endwith %}", "{% set a %}{% set b = 1 %}{{ b }}{% endset %}{{ a }}{{ b }}", "{% set a %}{% set s = 'x' %}{{ s }}{% endset %}{{ a }}{{ s }}", "{% if yes %}{% for x in l %}{{ x }}{% endfor %}{% set later = 1 %}{% endif %}{{ later }}",
    "{{ undefined_fn('x') }}", "{{ s.nope('x') }}", "{{ d.a.b.c }}", "{{ d.a.b is defined }}", "{{ d.a.b.c is defined }}", "{{ (d.a.b).c|default('x') }}", "{{ d.zz|default({})|tojson }}", "{{ d['a']['b'] is defined }}", "{{ s is string and s.startswith('H') }}", "{{ 'ab' 'cd'[1] }}", "{{ l|length is gt 2 }}", "{{ l|length > 2 }}", "{{ not l|length > 5 }}", "{{ s|length + 1 }}", "{{ l is not none and l|length }}", "{{ (i > 3) | string }}", "{{ i > 3 | string }}", "{{ 'a' in s|lower }}", "{{ 'x' if 'h' in s|lower else 'y' }}", "{{ l|sort|first + 1 }}", "{{ 1 ~ 2 + 3 }}", "{{ 1 + 2 ~ 3 }}", "{{ 2 * 3 ~ 4 }}", "{{ 'a' ~ 'b' == 'ab' }}", "{{ 'a' ~ ('b' == 'ab') }}", "{{ not 'a' in s }}", "{{ - 2 ** 2 }}", "{{ 2 ** -1 }}", "{{ -2|abs }}", "{{ (-2)|abs }}", "{{ i.foo.bar }}", "{{ [1,2,3].0 }}", "{{ l.0 + l.1 }}", "{{ 1.5.real }}", "{{ x.1.5 }}",
]

VALUES = ["none_", "yes", "i", "neg", "f", "s", "empty", "html", "l", "ls", "le", "mixed", "d", "de", "(1, 'a')", "range(3)", "missing", "ns", "(l|map('string'))", "big", "d.keys()"]
FILTERS = ["abs", "capitalize", "count", "default", "e", "escape", "first", "float", "int", "items|list", "join", "last", "list", "lower", "max", "min", "reverse|list", "round", "safe", "sort", "string", "striptags", "sum", "title", "tojson", "trim", "truncate", "unique|list", "upper", "wordcount", "dictsort", "center(20)", "indent", "batch(2)|list", "slice(2)|list", "map('string')|list", "select|list", "reject|list", "map(attribute='a')|list", "selectattr('a')|list", "groupby('a')", "attr('a')", "filesizeformat", "xmlattr", "urlencode", "replace('a', 'b')", "format", "random|length"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float", "boolean", "true", "false", "odd", "even", "lower", "upper", "callable", "escaped", "divisibleby 3", "in [1, 'a']", "eq 7", "lt 8", "sameas none", "filter", "test"]
OPERATORS = ["{} + 1", "1 + {}", "{} ~ 'x'", "{} * 2", "{} == {}", "{} < {}", "{}[0]", "{}['a']", "{}.a", "{}[1:]", "1 in {}", "'a' in {}", "-{}", "not {}", "{} or 'or'", "{} and 'and'", "'%s' % {}", "{}()", "'{{}}'.format({})", "[{}]"]


def parts(text):
    """The items of a tuple as they are written, and the tuple."""
    found, depth, start, quote = [], 0, 0, ""
    for k, c in enumerate(text):
        if quote:
            quote = "" if c == quote and text[k - 1] != "\\" else quote
        elif c in "'\"":
            quote = c
        else:
            depth += (c in "([{") - (c in ")]}")
            if c == "," and depth == 0:
                found.append(text[start:k].strip())
                start = k + 1
    return [*found, text[start:].strip()] if found else [text]


def snippets():
    for e in EXPRESSIONS:
        for part in parts(e):
            yield "{{ " + part.replace("line\\\\njoined", "line\\\njoined") + " }}"
    yield from STATEMENTS
    head = "{% set ns = namespace(a=1) %}"
    for v in VALUES:
        start = head if v == "ns" else ""
        for f in FILTERS:
            if f != "random|length":
                yield f"{start}{{{{ {v}|{f} }}}}"
        for t in TESTS:
            yield f"{start}{{{{ {v} is {t} }}}}"
        for o in OPERATORS:
            yield f"{start}{{{{ {o.format(v, v)} }}}}"


def wide(text):
    """Holds an integer that 64 bits don't."""
    return any(len(n) < 25 and not -2**63 <= int(n) < 2**63 for n in re.findall(r"-?\b\d{19,}\b(?!\.)", text))


def main(out):
    rows, seen, left_out = [], set(), 0
    for source in snippets():
        if source in seen:
            continue
        seen.add(source)
        try:
            text = utils._compile_jinja_template(source).render(**json.loads(json.dumps(VARIABLES)))
        except Exception:
            text = None
        if text is not None and (" at 0x" in text.lower() or "0x7" in text or wide(text) or
                                 "d.keys() < " in source or ("map(" in source and "wordcount" in source)):
            left_out += 1
            continue
        rows.append([source, text])
    with open(out, "w") as f:
        f.write('{"variables":' + json.dumps(VARIABLES, ensure_ascii=False) + ',\n"snippets":[\n')
        f.write(",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]}\n")
    print(f"{len(rows)} snippets, {sum(r[1] is None for r in rows)} errors, {left_out} left out")


if __name__ == "__main__":
    main(sys.argv[1])
