-- SPDX-License-Identifier: GPL-2.0-only OR MIT
-- A bit of all that scripts do: calls, tables, sorting, strings and patterns, metamethods, coroutines, errors.

local function fib(n)
	return n < 2 and n or fib(n - 1) + fib(n - 2)
end

local numbers, sum = {}, 0
for i = 1, 20000 do
	numbers[i] = i * 7919 % 10007
end
table.sort(numbers)
for i = 1, 200000 do
	sum = sum + numbers[i % 20000 + 1] * 0.5
end

local parts, digits = {}, 0
for i = 1, 20000 do
	parts[#parts + 1] = string.format("%d:%s", i, ("x"):rep(i % 7))
end
local text = table.concat(parts, ",")
for word in text:gmatch("%d+") do
	digits = digits + #word
end

local twice = setmetatable({}, { __index = function(_, key) return key * 2 end })
for i = 1, 50000 do
	sum = sum + twice[i]
end

local next_one = coroutine.wrap(function()
	for i = 1, 20000 do
		coroutine.yield(i)
	end
end)
local caught = 0
for _ = 1, 20000 do
	sum = sum + next_one()
	caught = caught + (pcall(error, "caught") and 0 or 1)
end

print(fib(24), sum, digits, caught, #text:gsub("1", "22"):upper())
