// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Turns a module of the canonical front end into one of a given ISA. Types have the same sizes and alignments under
// all three data layouts, so only the target's own description changes: triple, layout, CPU, features, flags.

#include "popcorn.h"

#include "llvm/Support/CommandLine.h"

namespace popcorn {

static const struct {
	const char *Name, *Triple, *Layout, *Cpu, *Features;
	CallingConv::ID Cold;
} Isas[] = {
	{"x86-64", "x86_64-unknown-linux-musl",
	 "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128", "x86-64",
	 "+cx8,+cmov,+fxsr,+mmx,+sse,+sse2,+x87", CallingConv::PreserveMost},
	{"aarch64", "aarch64-unknown-linux-musl",
	 "e-m:e-i8:8:32-i16:16:32-i64:64-i128:128-n32:64-S128-Fn32", "generic", "+fp-armv8,+neon,+v8a",
	 CallingConv::PreserveMost},
	{"riscv64", "riscv64-unknown-linux-musl", "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128", "generic-rv64",
	 "+64bit,+a,+c,+d,+f,+m,+zicsr,+zifencei", CallingConv::C},
};

// Module flags that describe riscv64 only. SmallDataLimit 0 keeps data out of .sdata, which only it has.
static const char *const RiscvFlags[] = {"target-abi", "SmallDataLimit", "riscv-isa", "Code Model"};

bool RetargetPass::lookup(StringRef Name, unsigned &Isa)
{
	for (Isa = 0; Isa < std::size(Isas); Isa++)
		if (Name == Isas[Isa].Name)
			return true;
	return false;
}

// The runtime's functions that save registers for their callers, so that a function needs no frame for a point in it.
static const char *const ColdCalls[] = {"__popcorn_point", "__popcorn_save"};

PreservedAnalyses RetargetPass::run(Module &M, ModuleAnalysisManager &)
{
	auto isRiscvFlag = [](const MDNode *Flag) {
		StringRef Name = cast<MDString>(Flag->getOperand(1))->getString();
		return any_of(RiscvFlags, [&](const char *F) { return Name == F; });
	};

	M.setTargetTriple(Isas[Isa].Triple);
	M.setDataLayout(Isas[Isa].Layout);
	if (NamedMDNode *Flags = M.getModuleFlagsMetadata()) {
		SmallVector<MDNode *> Keep;

		for (MDNode *Flag : Flags->operands())
			if (!isRiscvFlag(Flag))
				Keep.push_back(Flag);
		Flags->clearOperands();
		for (MDNode *Flag : Keep)
			Flags->addOperand(Flag);
	}
	if (StringRef(Isas[Isa].Name) == "riscv64") {
		M.addModuleFlag(Module::Error, "target-abi", MDString::get(M.getContext(), "lp64d"));
		M.addModuleFlag(Module::Error, "SmallDataLimit", 0u);
	}
	for (Function &F : M) {
		for (const char *Attr : {"target-cpu", "tune-cpu", "target-features"})
			F.removeFnAttr(Attr);
		if (F.isDeclaration())
			continue;
		F.addFnAttr("target-cpu", Isas[Isa].Cpu);
		F.addFnAttr("target-features", Isas[Isa].Features);
	}
	for (const char *Name : ColdCalls) {
		Function *F = M.getFunction(Name);
		if (!F)
			continue;
		F->setCallingConv(Isas[Isa].Cold);
		for (User *U : F->users())
			if (auto *CB = dyn_cast<CallBase>(U); CB && CB->getCalledOperand() == F)
				CB->setCallingConv(Isas[Isa].Cold);
	}
	return PreservedAnalyses::none();
}

} // namespace popcorn
