-- SPDX-License-Identifier: GPL-2.0-only OR MIT
-- What a Lua interpreter does, each part under pcall: setjmp() and longjmp() in C, callbacks from C into the
-- interpreter and back, coroutines, a collector, numbers to text and back.

local function show(name, ...)
	print(name, ...)
end

local parts = {}

function parts.recursion()
	local function ack(m, n)
		if m == 0 then return n + 1 end
		if n == 0 then return ack(m - 1, 1) end
		return ack(m - 1, ack(m, n - 1))
	end
	show("ack", ack(2, 9))
end

function parts.errors()
	local count = 0
	for i = 1, 200 do
		local ok, err = pcall(function()
			if i % 3 == 0 then error({ code = i }) end
			if i % 5 == 0 then error("number " .. i, 0) end
			return i + nil
		end)
		count = count + (type(err) == "table" and err.code or #err:gsub("^.-:%d+: ", ""))
		assert(not ok)
	end
	show("errors", count)
	show("traceback", select(2, xpcall(function() local x = {} ; return x.a.b end, function(m)
		return (m:gsub("^.-:%d+: ", ""))
	end)))
	-- errors through C: sort() calls a comparison that fails, gsub() a replacement that fails
	show("in C", pcall(table.sort, { 3, 2, 1 }, function() error("no order", 0) end))
	show("in C", pcall(string.gsub, "abc", "%w", function(c) if c == "b" then error("no b", 0) end end))
end

function parts.deep()
	local function down(n) if n == 0 then error("bottom", 0) end return 1 + down(n - 1) end
	show("deep", pcall(down, 150))
	local function nest(n) if n == 0 then return "inside" end return select(2, pcall(nest, n - 1)) end
	show("nested", nest(60))
	show("overflow", select(2, load("return " .. ("("):rep(300))):match("C stack overflow"))
end

function parts.coroutines()
	local function producer(n)
		return coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end end)
	end
	local sum = 0
	for v in producer(300) do sum = sum + v end
	local co = coroutine.create(function(a) local b = coroutine.yield(a * 2); error("in " .. b, 0) end)
	show("coroutines", sum, coroutine.resume(co, 21))
	show("coroutines", coroutine.resume(co, "there"))
	show("coroutines", coroutine.status(co), coroutine.resume(co))
	local inside = coroutine.wrap(function()
		return pcall(function() return coroutine.yield("across pcall") .. " and back" end)
	end)
	show("coroutines", inside(), select(2, inside("there")))
end

function parts.sort()
	local x, t = 12345, {}
	for i = 1, 600 do
		x = (x * 1103515245 + 12345) % 2147483648
		t[i] = x
	end
	table.sort(t, function(a, b) return a > b end)
	for i = 2, #t do assert(t[i - 1] >= t[i]) end
	show("sort", t[1], t[300], t[600])
end

function parts.strings()
	local words, text = {}, ("the quick brown fox jumps over the lazy dog "):rep(30)
	for w in text:gmatch("%a+") do words[w] = (words[w] or 0) + 1 end
	local names = {}
	for w, n in pairs(words) do names[#names + 1] = w .. "=" .. n end
	table.sort(names)
	show("words", table.concat(names, " "))
	show("gsub", (text:sub(1, 44):gsub("(%w+) (%w+)", "%2 %1")))
	show("pack", ("<i4 d z"):len(), string.unpack("<i4dz", string.pack("<i4dz", -7, 0.1, "end")))
	show("format", string.format("%5.2f|%g|%a|%x|%q|%-8s|%i", math.pi, 1e300, 0.1, 48879, "a\n\"b\"", "left", -5))
	show("utf8", utf8.char(228, 8364, 119070), utf8.len("äöü"), #utf8.char(119070))
end

function parts.numbers()
	local sum = 0.0
	for i = 1, 3000 do sum = sum + math.sin(i) * math.sqrt(i) / (1 + i % 7) end
	show("numbers", string.format("%.11g %.11g", sum, math.exp(1) ^ math.log(3)))
	show("integers", math.maxinteger + 1 == math.mininteger, 7 // -2, -7 % 3, 7.5 // 2, 1 << 62, "0x10" + 0, 2^53)
	show("parsed", tonumber("1e-320"), tonumber("0x1.8p3"), tonumber("  12  "), tonumber("z", 36), tonumber("1e"))
end

function parts.objects()
	local Account = {}
	Account.__index = Account
	Account.__add = function(a, b) return setmetatable({ n = a.n + b.n }, Account) end
	Account.__lt = function(a, b) return a.n < b.n end
	Account.__tostring = function(a) return "account " .. a.n end
	Account.__close = function(a) show("closed", tostring(a)) end
	local a <close> = setmetatable({ n = 3 }, Account)
	local b = setmetatable({ n = 4 }, Account)
	show("objects", tostring(a + b), a < b, rawequal(a, b))
	local lazy = setmetatable({}, { __index = function(t, k) local v = k * k; rawset(t, k, v); return v end })
	local sum = 0
	for i = 1, 400 do sum = sum + lazy[i % 50] end
	show("lazy", sum)
end

function parts.garbage()
	local freed, weak = 0, setmetatable({}, { __mode = "v" })
	for i = 1, 400 do
		local t = setmetatable({ i, tostring(i):rep(20) }, { __gc = function() freed = freed + 1 end })
		weak[i] = t
	end
	collectgarbage()
	collectgarbage()
	show("garbage", freed, next(weak))
	collectgarbage("generational")
	local list
	for i = 1, 3000 do list = { next = i % 100 ~= 0 and list or nil, value = i } end
	collectgarbage("incremental")
	show("list", list.value)
end

function parts.load()
	local f = assert(load("local a, b = ... ; return a * b + (function() return 1 end)()", "chunk", "t", {}))
	show("load", f(6, 7))
	show("syntax", (select(2, load("x = = 1", "=chunk"))))
	show("dump", load(string.dump(f), "dumped", "b")(2, 3))
	local big = {}
	for i = 1, 300 do big[i] = ("local v%d = %d"):format(i % 150, i) end
	show("locals", select(2, load(table.concat(big, "\n"))) ~= nil)
end

function parts.files()
	local name = os.tmpname()
	local f = assert(io.open(name, "w+"))
	for i = 1, 100 do f:write(i, " ", i * 0.5, "\n") end
	f:seek("set", 0)
	local sum, lines = 0, 0
	for a, b in f:lines("n", "n") do sum, lines = sum + a + b, lines + 1 end
	f:close()
	os.remove(name)
	show("files", lines, sum, (io.open(name)))
end

local order = { "recursion", "errors", "deep", "coroutines", "sort", "strings", "numbers", "objects", "garbage", "load", "files" }
for _, name in ipairs(order) do
	local ok, err = pcall(parts[name])
	if not ok then print("wrong", name, err) end
end
